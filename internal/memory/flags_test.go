package memory

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/internal/testkit"
	"ckpt/internal/tracee"
	"ckpt/stream/record"
)

// TestFlags: each code occurs once, and means something.
func TestFlags(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range vmaFlags {
		if len(f.code) != 2 || seen[f.code] {
			t.Errorf("flag %q", f.code)
		}
		seen[f.code] = true
		if (f.mmap != 0 || f.advice != unix.MADV_NORMAL) && (f.obstacle != "" || !f.lasting) {
			t.Errorf("flag %s can be set and is in the way, or comes and goes: %+v", f.code, f)
		}
	}
	v := &record.VMA{VmFlags: "rd wr mr mw me gd ac nr"}
	if got, want := mmapFlags(v), uint64(unix.MAP_GROWSDOWN|unix.MAP_NORESERVE); got != want {
		t.Errorf("mmap flags %#x, want %#x", got, want)
	}
	for _, c := range []struct {
		a, b string
		good bool
	}{{"rd wr ac", "rd ac", true}, {"rd wr ac", "rd wr", false}, {"rd dc", "rd", false}, {"rd lo", "rd", true}} {
		if got := serves(&record.VMA{VmFlags: c.a}, &record.VMA{VmFlags: c.b}); got != c.good {
			t.Errorf("one with %q serves as one with %q: %v", c.a, c.b, got)
		}
	}
	if got := blockedBy(&proc.Mapping{VmFlags: "rd wr um"}); got != "watched by userfaultfd" {
		t.Errorf("%q", got)
	}
}

// TestUnknownHere: what the kernel does not know is reported once, however many
// mappings have it.
func TestUnknownHere(t *testing.T) {
	if sys.KnowsAdvice(99) || !sys.KnowsAdvice(unix.MADV_DONTFORK) {
		t.Error("which advice the kernel knows is not told")
	}
	if sys.KnowsMapping(0x0c) || !sys.KnowsMapping(unix.MAP_PRIVATE) {
		t.Error("which mappings the kernel knows is not told")
	}
	known := []record.VMA{{Kind: record.VMAAnon, VmFlags: "rd wr dc dd wf"}}
	if errs := unknownHere(known, "pid 7"); errs != nil {
		t.Error(errs)
	}
	old := vmaFlags
	defer func() { vmaFlags = old }()
	vmaFlags[5].advice = 99 // of "sr"
	errs := unknownHere([]record.VMA{{Kind: record.VMAAnon, VmFlags: "sr"}, {Kind: record.VMAAnon, VmFlags: "rd sr"}}, "pid 7 (x)")
	if len(errs) != 1 || !strings.Contains(errs[0].Error(), "pid 7 (x) has memory with the flag sr (advice 99 of madvise), which this kernel does not know") {
		t.Error(errs)
	}
	if errs := unknownHere([]record.VMA{{Kind: record.VMAVDSO, VmFlags: "sr"}}, "pid 7"); errs != nil {
		t.Errorf("of the vdso: %v", errs)
	}
}

// TestTooMany: a process with as many mappings as one may have can't be restored.
func TestTooMany(t *testing.T) {
	most := testkit.Must(proc.ReadSysctl("vm/max_map_count"))(t)
	vmas := make([]record.VMA, most)
	for i := range vmas {
		vmas[i].Kind = record.VMAAnon
	}
	vmas[0].Kind = record.VMAVsyscall
	for n, says := range map[int64]string{most - ourMappings: "", most - ourMappings + 1: "", most: fmt.Sprintf("pid 7 has %d mappings and needs %d while it is restored", most-1, most-1+ourMappings)} {
		errs := Here(&caps.Process{}, vmas[:n], "pid 7")
		if says == "" && errs != nil || says != "" && (len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), says)) {
			t.Errorf("%d: %v", n, errs)
		}
	}
}

// TestNames: on a kernel without names of memory, mappings that have some are restored
// without, and the user is told once.
func TestNames(t *testing.T) {
	p := newPuppet(t)
	d := describe(t, p)
	hole, ok := tracee.Hole(Occupied(d.vmas), 16*pageBytes)
	if !ok {
		t.Fatal("no room")
	}
	for i := range uint64(2) {
		at := hole.Addr + 4*i*pageBytes
		d.vmas = append(d.vmas, record.VMA{Kind: record.VMAAnon, Start: at, End: at + pageBytes, Prot: rw, Anon: "heap"})
	}
	slices.SortFunc(d.vmas, func(a, b record.VMA) int { return cmp.Compare(a.Start, b.Start) })
	q := newPuppet(t, Occupied(d.vmas)...)
	var notes []string
	r := &Restorer{PID: q.Tracee().PID, Puppet: q, Open: files(t, d), Note: func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }}
	testkit.Check(t, r.Map(d.vmas))
	named := 0
	for _, m := range testkit.Must(proc.ReadMappings(q.Tracee().PID))(t) {
		if name, ok := m.AnonName(); ok && name == "heap" {
			named++
		}
	}
	told := len(notes) == 1 && strings.Contains(notes[0], "loses its names (heap")
	if named != 2 && !(named == 0 && told) || named == 2 && len(notes) > 0 {
		t.Errorf("%d mappings have their name, %q", named, notes)
	}
}
