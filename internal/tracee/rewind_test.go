//go:build amd64

package tracee_test

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/tracee"
)

// TestRewind: the registers by which an interrupted call is made again.
func TestRewind(t *testing.T) {
	const nr, ip = unix.SYS_READ, 0x401002
	for _, c := range []struct {
		orig, rax   int64
		same        bool
		rip         uint64
		interrupted int
		anew, needs bool
		raxAfter    int64
	}{
		{-1, 5, true, ip, -1, false, false, 5},
		{-1, -512, true, ip, -1, false, false, -512},
		{nr, 5, true, ip, -1, false, false, 5},
		{nr, -int64(unix.EINTR), true, ip, -1, false, false, -int64(unix.EINTR)},
		{nr, -512, true, ip - 2, nr, true, false, nr},
		{nr, -513, false, ip - 2, nr, true, false, nr},
		{nr, -514, true, ip - 2, nr, true, false, nr},
		{nr, -516, true, ip - 2, nr, true, true, unix.SYS_RESTART_SYSCALL},
		{nr, -516, false, ip - 2, nr, true, true, nr},
	} {
		t.Run(fmt.Sprint(c.orig, c.rax, c.same), func(t *testing.T) {
			var r tracee.Regs
			r.Orig_rax, r.Rax, r.Rip = uint64(c.orig), uint64(c.rax), ip
			if r.Interrupted() != c.interrupted || r.NeedsRewind() != c.needs {
				t.Errorf("interrupted %d, needs %v", r.Interrupted(), r.NeedsRewind())
			}
			r.Rewind(c.same)
			if r.Rip != c.rip || int64(r.Rax) != c.raxAfter || c.anew && int64(r.Orig_rax) != -1 {
				t.Errorf("%+v", r)
			}
		})
	}
}
