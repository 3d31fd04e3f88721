//go:build amd64

package loan

import (
	"bytes"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
	"ckpt/internal/proc"
	"ckpt/internal/puppet"
	"ckpt/internal/testkit"
	"ckpt/internal/testkit/stub"
	"ckpt/internal/tracee"
)

// fate has the parameters of a way home.
type fate struct {
	mask  uint64
	undo  []tracee.HomeCall
	clear tracee.Range
}

// TestWayHome lets a puppet run the way home's bytes, from the registers that a loan leaves to
// where the program had been: there everything is as it was.
func TestWayHome(t *testing.T) {
	p := stub.Settled(t)
	rng := testkit.Random(t)
	const nr = unix.SYS_POLL
	for _, c := range []struct {
		name string
		orig int64 // orig_rax of the registers to come home to
		rax  int64
	}{
		{"computing", -1, 7},
		{"behind a call", nr, 3},
		{"interrupted", nr, -512},
		{"interrupted, always again", nr, -513},
		{"interrupted, unless a handler runs", nr, -514},
		{"interrupted, to be gone on with", nr, -516},
	} {
		t.Log(c.name) // not a subtest, which would run on another OS thread
		for range 20 {
			saved := testkit.RandomRegs(testkit.Must(p.Tracee().Regs())(t), rng)
			saved.Orig_rax, saved.Rax = uint64(c.orig), uint64(c.rax)
			walkHome(t, p, saved, fate{mask: rng.Uint64()})
		}
	}
}

// walkHome runs the way home and compares the state of the thread afterwards.
func walkHome(t *testing.T, p *puppet.Puppet, saved *tracee.Regs, f fate) {
	t.Helper()
	landing := p.Own().Addr + 2048
	saved.Rip = landing + uint64(len(tracee.SyscallInsn))
	testkit.Check(t, p.Tracee().Poke(landing, []byte{0xcc, 0xcc, 0xcc, 0xcc})) // int3, wherever it comes out
	at := p.Own().Addr + 512
	code := tracee.WayHome(at, saved, f.mask, f.undo, f.clear)
	if len(code) > slotBytes {
		t.Fatalf("%d bytes", len(code))
	}
	testkit.Check(t, p.Tracee().Poke(at, code))
	regs := *saved
	regs.SetCall(at+uint64(len(tracee.SyscallInsn)), 0, nil)
	land(t, p, &regs)

	want := *saved
	want.Rewind(true)
	var got tracee.Regs
	testkit.Check(t, p.Tracee().ReadRegs(&got))
	want.Rip++ // behind the int3
	want.Orig_rax = ^uint64(0)
	if got != want {
		t.Fatalf("came home with\n%+v, not\n%+v", got, want)
	}
	// An int3 whose signal is blocked unblocks it.
	const never = 1<<(unix.SIGKILL-1) | 1<<(unix.SIGSTOP-1) | 1<<(unix.SIGTRAP-1)
	if mask := testkit.Must(p.Tracee().SignalMask())(t); mask != f.mask&^never {
		t.Fatalf("mask %x, not %x", mask, f.mask)
	}
	testkit.Check(t, p.Tracee().SetSignalMask(0))
}

// land lets a puppet run until it is behind the next int3.
func land(t *testing.T, p *puppet.Puppet, regs *tracee.Regs) {
	t.Helper()
	th := p.Tracee()
	testkit.Check(t, th.InterruptFromCall())
	testkit.Check(t, th.SetSignalMask(^uint64(0)))
	testkit.Check(t, th.Run(regs, func(s tracee.Stop) (unix.Signal, bool, error) {
		if s.Sig != unix.SIGTRAP || s.Event != 0 || s.Syscall {
			return 0, false, fmt.Errorf("it came to a stop by %v, event %d", s.Sig, s.Event)
		}
		return 0, true, nil
	}))
}

// TestWayHomeUndoes: what is on the list is undone, and only the given memory is cleared.
func TestWayHomeUndoes(t *testing.T) {
	p := stub.Settled(t)
	rng := testkit.Random(t)
	pid := p.Tracee().PID
	for i := range 20 {
		scratch := stub.Map(t, p, scratchBytes, unix.PROT_READ|unix.PROT_WRITE)
		fd := testkit.Must(p.Call(unix.SYS_EVENTFD2, 0, 0))(t)
		memory := stub.Map(t, p, abi.PageBytes, unix.PROT_READ|unix.PROT_WRITE)
		full := bytes.Repeat([]byte{0xaa}, abi.PageBytes)
		testkit.Check(t, p.Tracee().WriteMem(memory, full))
		clear := tracee.Range{Addr: memory + 8*uint64(rng.UintN(400)), Len: 8 * uint64(1+rng.UintN(TightBytes/8))}
		if i == 0 {
			clear.Len = TightBytes
		}
		walkHome(t, p, testkit.RandomRegs(testkit.Must(p.Tracee().Regs())(t), rng), fate{mask: 1, clear: clear, undo: []tracee.HomeCall{
			{NR: unix.SYS_CLOSE, Args: []uint64{fd}}, {NR: unix.SYS_MUNMAP, Args: []uint64{scratch, scratchBytes}}}})
		if m := testkit.MappingAt(t, pid, scratch); m != nil {
			t.Fatalf("%x-%x is still mapped", m.Start, m.End)
		}
		if _, err := proc.FDLink(pid, int(fd)); !proc.Gone(err) {
			t.Fatalf("descriptor %d: %v", fd, err)
		}
		copy(full[clear.Addr-memory:], make([]byte, clear.Len))
		got := make([]byte, abi.PageBytes)
		testkit.Check(t, p.Tracee().ReadMem(memory, got))
		if !bytes.Equal(got, full) {
			t.Fatalf("%d bytes at %d were to be cleared: %x", clear.Len, clear.Addr-memory, got)
		}
		testkit.Check(t, tracee.CallOK(p, "unmap", unix.SYS_MUNMAP, memory, abi.PageBytes))
	}
}

// TestWayHomeFits: there is room for the longest way home.
func TestWayHomeFits(t *testing.T) {
	const big = 1<<64 - 1
	saved := &tracee.Regs{}
	for _, to := range []*uint64{&saved.Rdi, &saved.Rsi, &saved.Rdx, &saved.R10, &saved.R8, &saved.R9, &saved.Rcx, &saved.R11, &saved.Rax, &saved.Rip} {
		*to = big
	}
	unmap := tracee.HomeCall{NR: unix.SYS_MUNMAP, Args: []uint64{1 << 46, scratchBytes}}
	for name, f := range map[string]fate{
		"a pipe":      {undo: []tracee.HomeCall{unmap, {NR: unix.SYS_CLOSE, Args: []uint64{1 << 20}}, {NR: unix.SYS_CLOSE, Args: []uint64{1 << 20}}}},
		"tight":       {clear: tracee.Range{Addr: 1 << 46, Len: TightBytes}},
		"calls taken": {undo: []tracee.HomeCall{{NR: unix.SYS_SEMOP, Args: []uint64{1 << 30, 1 << 46, 500}}, {NR: unix.SYS_SEMOP, Args: []uint64{1 << 30, 1 << 46, 500}}, {NR: unix.SYS_SEMOP, Args: []uint64{1 << 30, 1 << 46, 500}}, {NR: unix.SYS_SEMOP, Args: []uint64{1 << 30, 1 << 46, 500}}, unmap}},
	} {
		if n := len(tracee.WayHome(1<<47-abi.PageBytes, saved, big, f.undo, f.clear)); n > slotBytes {
			t.Errorf("%s: %d bytes of %d", name, n, slotBytes)
		}
	}
}

func TestFindHome(t *testing.T) {
	p := testkit.StartTarget(t, "naps")
	auxv := testkit.Must(proc.ReadAuxv(p.PID))(t)
	home := testkit.Must(FindHome(auxv))(t)
	var vdso *proc.Mapping
	for _, m := range testkit.Must(proc.ReadMaps(p.PID))(t) {
		if m.Name() == "[vdso]" {
			vdso = &m
		}
	}
	text := testkit.Must(tracee.VDSO())(t)
	if vdso == nil || home.end != vdso.End || home.start != vdso.Start+uint64(len(bytes.TrimRight(text, "\x00"))) {
		t.Errorf("%x-%x in %+v", home.start, home.end, vdso)
	}
	for name, auxv := range map[string][]byte{"nothing": nil, "a part": auxv[:15], "no vdso": make([]byte, 64)} {
		if home, err := FindHome(auxv); err != nil || home != (Home{}) {
			t.Errorf("%s: %+v, %v", name, home, err)
		}
	}
}
