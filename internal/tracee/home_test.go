//go:build amd64

package tracee

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

// fate is what the way home is made of.
type fate struct {
	mask  uint64
	undo  []homeCall
	clear Range
}

// TestWayHome has a puppet run the way home's bytes, from registers that a loan
// leaves, to where the program had been: there everything is as it was.
func TestWayHome(t *testing.T) {
	p := settledStub(t)
	rng := random(t)
	const nr = unix.SYS_POLL
	for _, c := range []struct {
		name string
		orig int64 // orig_rax of the registers to come home to
		rax  int64
	}{
		{"computing", -1, 7},
		{"behind a call", nr, 3},
		{"interrupted", nr, erestartsys},
		{"interrupted, always again", nr, erestartnointr},
		{"interrupted, unless a handler runs", nr, erestartnohand},
		{"interrupted, to be gone on with", nr, erestartRestartblock},
	} {
		t.Log(c.name) // no subtest, which would be another OS thread
		for range 20 {
			saved := randomRegs(p, rng)
			saved.Orig_rax, saved.Rax = uint64(c.orig), uint64(c.rax)
			walkHome(t, p, saved, fate{mask: rng.Uint64()})
		}
	}
}

// randomRegs returns registers that no two of which are equal, some of them small.
func randomRegs(p *Puppet, rng *rand.Rand) *Regs {
	r := p.base
	for _, to := range []*uint64{&r.R15, &r.R14, &r.R13, &r.R12, &r.Rbp, &r.Rbx, &r.R11, &r.R10, &r.R9, &r.R8, &r.Rcx, &r.Rdx, &r.Rsi, &r.Rdi, &r.Rsp} {
		*to = rng.Uint64() >> (rng.UintN(3) * 16)
		if rng.UintN(8) == 0 {
			*to = []uint64{0, 1, 1<<32 - 1, 1 << 32, 1<<63 - 1, 1 << 63, 1<<64 - 1}[rng.UintN(7)]
		}
	}
	const carry, parity, adjust, zero, sign, direction, overflow = 1, 1 << 2, 1 << 4, 1 << 6, 1 << 7, 1 << 10, 1 << 11
	r.Eflags = 1<<1 | 1<<9 | rng.Uint64()&(carry|parity|adjust|zero|sign|direction|overflow)
	return &r
}

// walkHome runs the way home and compares what the thread is then.
func walkHome(t *testing.T, p *Puppet, saved *Regs, f fate) {
	t.Helper()
	landing := p.code + 2048
	saved.Rip = landing + syscallInsnBytes
	check(t, p.t.poke(landing, []byte{0xcc, 0xcc, 0xcc, 0xcc})) // int3, wherever it comes out
	at := p.code + 512
	code := wayHome(at, saved, f.mask, f.undo, f.clear)
	if len(code) > slotBytes {
		t.Fatalf("%d bytes", len(code))
	}
	check(t, p.t.poke(at, code))
	regs := *saved
	regs.setCall(at+syscallInsnBytes, 0, nil)
	land(t, p, &regs)

	want := *saved
	want.Rewind(true)
	var got Regs
	check(t, p.t.getRegs(&got))
	want.Rip++ // behind the int3
	want.Orig_rax = ^uint64(0)
	if got != want {
		t.Fatalf("came home with\n%+v, not\n%+v", got, want)
	}
	// An int3 whose signal is blocked unblocks it.
	const never = 1<<(unix.SIGKILL-1) | 1<<(unix.SIGSTOP-1) | 1<<(unix.SIGTRAP-1)
	if mask := must(p.t.SignalMask())(t); mask != f.mask&^never {
		t.Fatalf("mask %x, not %x", mask, f.mask)
	}
	check(t, p.t.SetSignalMask(0))
}

// land lets a puppet run to the next int3, which it then stands behind.
func land(t *testing.T, p *Puppet, regs *Regs) {
	t.Helper()
	check(t, p.t.interruptFromCall())
	check(t, p.t.SetRegs(regs))
	p.t.inStop = false
	check(t, p.t.SetSignalMask(^uint64(0)))
	check(t, unix.PtraceCont(p.t.TID, 0))
	s := must(p.t.wait(0))(t)
	if s.sig != unix.SIGTRAP || s.event != 0 || s.syscall {
		t.Fatalf("it came to a stop by %v, event %d", s.sig, s.event)
	}
}

// TestWayHomeUndoes: what is on the list is undone, memory is cleared, and only that.
func TestWayHomeUndoes(t *testing.T) {
	p := settledStub(t)
	rng := random(t)
	pid := p.t.PID
	for i := range 20 {
		scratch := mapped(t, p, scratchBytes, unix.PROT_READ|unix.PROT_WRITE)
		fd := must(p.Call(unix.SYS_EVENTFD2, 0, 0))(t)
		memory := mapped(t, p, pageBytes, unix.PROT_READ|unix.PROT_WRITE)
		full := bytes.Repeat([]byte{0xaa}, pageBytes)
		check(t, p.t.WriteMem(memory, full))
		clear := Range{memory + 8*uint64(rng.UintN(400)), 8 * uint64(1+rng.UintN(TightBytes/8))}
		if i == 0 {
			clear.Len = TightBytes
		}
		walkHome(t, p, randomRegs(p, rng), fate{mask: 1, clear: clear, undo: []homeCall{
			{unix.SYS_CLOSE, []uint64{fd}}, {unix.SYS_MUNMAP, []uint64{scratch, scratchBytes}}}})
		if m := mappingAt(t, pid, scratch); m != nil {
			t.Fatalf("%x-%x is still mapped", m.Start, m.End)
		}
		if _, err := proc.FDLink(pid, int(fd)); !proc.Gone(err) {
			t.Fatalf("descriptor %d: %v", fd, err)
		}
		copy(full[clear.Addr-memory:], make([]byte, clear.Len))
		got := make([]byte, pageBytes)
		check(t, p.t.ReadMem(memory, got))
		if !bytes.Equal(got, full) {
			t.Fatalf("%d bytes at %d were to be cleared: %x", clear.Len, clear.Addr-memory, got)
		}
		check(t, CallOK(p, "unmap", unix.SYS_MUNMAP, memory, pageBytes))
	}
}

// TestWayHomeFits: the longest there can be has room.
func TestWayHomeFits(t *testing.T) {
	const big = 1<<64 - 1
	saved := &Regs{}
	for _, to := range []*uint64{&saved.Rdi, &saved.Rsi, &saved.Rdx, &saved.R10, &saved.R8, &saved.R9, &saved.Rcx, &saved.R11, &saved.Rax, &saved.Rip} {
		*to = big
	}
	unmap := homeCall{unix.SYS_MUNMAP, []uint64{1 << 46, scratchBytes}}
	for name, f := range map[string]fate{
		"a pipe":      {undo: []homeCall{unmap, {unix.SYS_CLOSE, []uint64{1 << 20}}, {unix.SYS_CLOSE, []uint64{1 << 20}}}},
		"tight":       {clear: Range{1 << 46, TightBytes}},
		"calls taken": {undo: []homeCall{{unix.SYS_SEMOP, []uint64{1 << 30, 1 << 46, 500}}, {unix.SYS_SEMOP, []uint64{1 << 30, 1 << 46, 500}}, {unix.SYS_SEMOP, []uint64{1 << 30, 1 << 46, 500}}, {unix.SYS_SEMOP, []uint64{1 << 30, 1 << 46, 500}}, unmap}},
	} {
		if n := len(wayHome(1<<47-pageBytes, saved, big, f.undo, f.clear)); n > slotBytes {
			t.Errorf("%s: %d bytes of %d", name, n, slotBytes)
		}
	}
}

func TestFindHome(t *testing.T) {
	p := startTarget(t, "naps")
	auxv := must(proc.ReadAuxv(p.pid))(t)
	home := must(FindHome(auxv))(t)
	var vdso *proc.Mapping
	for _, m := range must(proc.ReadMaps(p.pid))(t) {
		if m.Name() == "[vdso]" {
			vdso = &m
		}
	}
	text := must(VDSO())(t)
	if vdso == nil || home.end != vdso.End || home.start != vdso.Start+uint64(len(bytes.TrimRight(text, "\x00"))) {
		t.Errorf("%x-%x in %+v", home.start, home.end, vdso)
	}
	for name, auxv := range map[string][]byte{"nothing": nil, "a part": auxv[:15], "no vdso": make([]byte, 64)} {
		if home, err := FindHome(auxv); err != nil || home != (Home{}) {
			t.Errorf("%s: %+v, %v", name, home, err)
		}
	}
}

// TestRewind: the registers that begin an interrupted call again.
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
		{-1, erestartsys, true, ip, -1, false, false, erestartsys},
		{nr, 5, true, ip, -1, false, false, 5},
		{nr, -int64(unix.EINTR), true, ip, -1, false, false, -int64(unix.EINTR)},
		{nr, erestartsys, true, ip - 2, nr, true, false, nr},
		{nr, erestartnointr, false, ip - 2, nr, true, false, nr},
		{nr, erestartnohand, true, ip - 2, nr, true, false, nr},
		{nr, erestartRestartblock, true, ip - 2, nr, true, true, unix.SYS_RESTART_SYSCALL},
		{nr, erestartRestartblock, false, ip - 2, nr, true, true, nr},
	} {
		t.Run(fmt.Sprint(c.orig, c.rax, c.same), func(t *testing.T) {
			var r Regs
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
