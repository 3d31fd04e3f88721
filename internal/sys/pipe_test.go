package sys

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestGrowPipes: pipes are enlarged, and never made smaller; other files are left
// alone.
func TestGrowPipes(t *testing.T) {
	size := func(f *os.File) int {
		n, err := unix.FcntlInt(f.Fd(), unix.F_GETPIPE_SZ, 0)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, bytes := range []int{4096, 1 << 20} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, bytes); err != nil {
			t.Fatal(err)
		}
		GrowPipes(r, file)
		if n := size(w); n != pipeBytes {
			t.Errorf("a pipe of %d bytes has %d", bytes, n)
		}
		r.Close()
		w.Close()
	}
}
