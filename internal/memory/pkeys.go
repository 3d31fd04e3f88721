package memory

import (
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/tracee"
	"ckpt/stream/record"
)

// The protection key of a mapping, see pkeys(7). It is given last: until then the puppet
// fills the memory. Which keys the program has allocated is restored elsewhere, so all that
// are needed here are allocated, and given back.

// pkey fills in a mapping's protection key.
func (c *Collector) pkey(m *proc.Mapping, v *record.VMA) error {
	v.Pkey = m.ProtectionKey
	if v.Pkey == 0 || m.Prot != unix.PROT_EXEC || c.Loan == nil {
		return nil
	}
	a, err := tracee.Ask(c.Loan, tracee.HasPkey(v.Pkey))
	v.ExecOnly = !a.HasPkey()
	return err
}

// execOnlyKey is the key that the kernel has taken for memory that can only be executed, or 0.
func execOnlyKey(vmas []record.VMA) int {
	for i := range vmas {
		if vmas[i].ExecOnly {
			return vmas[i].Pkey
		}
	}
	return 0
}

// wrongPkey says, for a message, why a mapping can't have its key, or "".
func wrongPkey(v *record.VMA, execOnly int) string {
	switch {
	case v.Pkey < 0 || v.Pkey >= tracee.Pkeys || v.Pkey != 0 && ofKernel(v.Kind):
		return fmt.Sprintf("protection key %d", v.Pkey)
	case v.ExecOnly && (v.Pkey == 0 || v.Prot != unix.PROT_EXEC || v.Pkey != execOnly):
		return fmt.Sprintf("protection key %d of the kernel, with protection %#x", v.Pkey, v.Prot)
	}
	return ""
}

func highestKey(vmas []record.VMA) (key int) {
	for i := range vmas {
		key = max(key, vmas[i].Pkey)
	}
	return key
}

// allocPkeys allocates the keys that mappings have. The kernel gives, and takes for itself,
// the lowest that is free; the latter when memory is made execute-only, which is done here.
func (r *Restorer) allocPkeys() {
	execOnly := execOnlyKey(r.vmas)
	for key := 1; key <= highestKey(r.vmas); key++ {
		if key != execOnly {
			r.call("allocate a protection key", unix.SYS_PKEY_ALLOC, 0, 0)
			continue
		}
		for i := range r.vmas {
			if r.vmas[i].ExecOnly {
				r.setPkey(&r.vmas[i])
			}
		}
	}
}

// setPkey gives a mapping its key and its protection.
func (r *Restorer) setPkey(v *record.VMA) {
	what := fmt.Sprintf("protect its mapping at %x by key %d", v.Start, v.Pkey)
	if v.ExecOnly {
		r.call(what, unix.SYS_MPROTECT, v.Start, v.End-v.Start, unix.PROT_EXEC)
		return
	}
	r.call(what, unix.SYS_PKEY_MPROTECT, v.Start, v.End-v.Start, uint64(v.Prot), uint64(v.Pkey))
}

// freePkeys gives keys back that allocPkeys allocated; mappings keep theirs. The kernel's own
// stays.
func (r *Restorer) freePkeys() {
	for key := 1; key <= highestKey(r.vmas); key++ {
		r.call("free a protection key", unix.SYS_PKEY_FREE, uint64(key)).MayFail()
	}
}
