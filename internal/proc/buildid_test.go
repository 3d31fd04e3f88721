package proc

import (
	"bytes"
	"debug/elf"
	"errors"
	"os"
	"testing"
)

// TestBuildID compares what the kernel says of a library with what is in it.
func TestBuildID(t *testing.T) {
	const library = "/lib64/ld-linux-x86-64.so.2"
	f, err := elf.Open(library)
	if err != nil {
		t.Skipf("no library to look at: %v", err)
	}
	defer f.Close()
	note, err := f.Section(".note.gnu.build-id").Data()
	if err != nil {
		t.Fatal(err)
	}
	const head = 16 // of the note: sizes, type and the name GNU
	for path, want := range map[string][]byte{library: note[head:], "/etc/passwd": nil} {
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		mem := mapPages(t, int(file.Fd()), 1)
		if err := file.Close(); err != nil {
			t.Fatal(err)
		}
		id, err := BuildID(os.Getpid(), addressOf(mem))
		if errors.Is(err, errors.ErrUnsupported) {
			t.Skip("not in this kernel")
		}
		if err != nil || !bytes.Equal(id, want) {
			t.Errorf("%s: %x, %v; want %x", path, id, err, want)
		}
	}
	if _, err := BuildID(os.Getpid(), 4096); err == nil {
		t.Error("nothing is mapped at 4096, and there is no error")
	}
}
