package memory

import (
	"testing"

	"ckpt/internal/tracee"
	"ckpt/stream/record"
)

// TestRoomNear: the kernel's vdso goes where data of the image's was, if it fits there, and
// else far from everything.
func TestRoomNear(t *testing.T) {
	const size = 0x8000
	p := newPuppet(t)
	vdso := record.VMA{Kind: record.VMAVDSO, Start: 1 << 46, End: 1<<46 + 0x2000}
	vvar := record.VMA{Kind: record.VMAVVar, Start: vdso.Start - 0x4000, End: vdso.Start}
	close := record.VMA{Kind: record.VMAAnon, Start: vdso.Start - 0x10000, End: vdso.Start - 0x9000}
	high := record.VMA{Kind: record.VMAAnon, Start: 1 << 20, End: vvar.Start - 0x1000}
	full := record.VMA{Kind: record.VMAAnon, Start: vdso.End, End: taskSize}
	vsyscall := record.VMA{Kind: record.VMAVsyscall, Start: 0xffffffffff600000, End: 0xffffffffff601000}
	for name, c := range map[string]struct {
		vmas []record.VMA
		want uint64 // 0: anywhere else
		fits bool
	}{
		"where the data was": {[]record.VMA{vvar, vdso, vsyscall}, vdso.Start - size, true},
		"something close":    {[]record.VMA{close, vvar, vdso, vsyscall}, 0, true},
		"little room":        {[]record.VMA{high, vvar, vdso, vsyscall}, 0, true},
		"no room":            {[]record.VMA{high, vvar, vdso, full, vsyscall}, 0, false},
	} {
		r := &Restorer{Puppet: p, vmas: c.vmas}
		at, err := r.roomNear(&vdso, size)
		if (err == nil) != c.fits || c.want != 0 && at != c.want {
			t.Errorf("%s: at %#x, %v", name, at, err)
		}
		if err != nil {
			continue
		}
		for _, m := range append(Occupied(c.vmas), p.Own()) {
			if m.Addr != vvar.Start && overlap(m, tracee.Range{Addr: at, Len: size}) {
				t.Errorf("%s: %#x is in %v", name, at, m)
			}
		}
	}
}
