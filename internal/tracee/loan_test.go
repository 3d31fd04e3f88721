//go:build amd64

package tracee

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

// TestLoan: calls are made in a program's name, which has all as before.
func TestLoan(t *testing.T) {
	for _, how := range []string{"spin", "echo", "naps"} {
		p := startTarget(t, how)
		before := p.state()
		g := newGroup(t)
		tr, place := held(t, g, p.pid)
		regs := *must(tr.Regs())(t)
		l := must(tr.Borrow(place))(t)
		if pid := must(l.Call(unix.SYS_GETPID))(t); pid != uint64(p.pid) {
			t.Errorf("%s: getpid says %d", how, pid)
		}
		if _, err := l.Call(unix.SYS_CLOSE, 1<<30); err != unix.EBADF {
			t.Errorf("%s: %v", how, err)
		}
		if _, err := l.Call(unix.SYS_CLOSE, 1, 2, 3, 4, 5, 6, 7); err != unix.EINVAL {
			t.Errorf("%s: seven arguments: %v", how, err)
		}
		if l.Tight() || l.Scratch().Len != scratchBytes || l.Tracee() != tr || *l.Saved() != regs {
			t.Errorf("%s: %+v", how, l)
		}
		check(t, tr.WriteMem(l.Scratch().Addr, []byte("x")))
		if m := mappingAt(t, p.pid, l.Scratch().Addr); m == nil {
			t.Errorf("%s: its scratch is not there", how)
		}
		check(t, l.Return())
		if now := *must(tr.Regs())(t); now != regs {
			t.Errorf("%s: registers\n%+v, not\n%+v", how, now, regs)
		}
		home := make([]byte, place.slots*slotBytes)
		check(t, tr.ReadMem(place.code, home))
		if !bytes.Equal(home, make([]byte, len(home))) {
			t.Errorf("%s: the way home is left", how)
		}
		check(t, g.ReleaseAll())
		p.settled(before)
		p.worksOn(how)
	}
}

// worksOn checks that a program still does what it is for.
func (p *target) worksOn(how string) {
	p.t.Helper()
	switch how {
	case "spin", "tight":
		p.runs(0)
		p.runs(0)
	case "echo":
		if _, err := p.in.Write([]byte("q")); err != nil || p.hears() != 'q' {
			p.t.Errorf("no echo (%v)", err)
		}
	}
}

// deaths are the moments at which a loan's tracer dies. Each gets as far as it
// says and leaves.
var deaths = []struct {
	name string
	at   func(t *testing.T, l *Loan)
}{
	{"borrowed", func(*testing.T, *Loan) {}},
	{"behind a call", func(t *testing.T, l *Loan) { must(l.Call(unix.SYS_GETPPID))(t) }},
	{"before a call", func(t *testing.T, l *Loan) { l.standAt(t, unix.SYS_GETPPID, nil, 0) }},
	{"at the entry of a call", func(t *testing.T, l *Loan) { l.standAt(t, unix.SYS_GETPPID, nil, 1) }},
	{"at the entry of one that fails", func(t *testing.T, l *Loan) { l.standAt(t, unix.SYS_CLOSE, []uint64{1 << 30}, 1) }},
	{"scratch used", func(t *testing.T, l *Loan) {
		check(t, l.t.WriteMem(l.Scratch().Addr, bytes.Repeat([]byte{0xff}, int(l.Scratch().Len))))
	}},
	{"a pipe made", func(t *testing.T, l *Loan) { must(l.Pipe(1 << 16))(t).Out.Close() }},
	{"a call to be taken back", func(t *testing.T, l *Loan) {
		check(t, l.CallAndBack(unix.SYS_DUP2, []uint64{1, 77}, unix.SYS_CLOSE, []uint64{77}))
	}},
	{"several to be taken back", func(t *testing.T, l *Loan) {
		for fd := range uint64(MaxBack) {
			check(t, l.CallAndBack(unix.SYS_DUP2, []uint64{1, 77 + fd}, unix.SYS_CLOSE, []uint64{77 + fd}))
		}
	}},
	{"one failed", func(t *testing.T, l *Loan) {
		if err := l.CallAndBack(unix.SYS_DUP2, []uint64{1 << 30, 77}, unix.SYS_CLOSE, []uint64{1}); err == nil {
			t.Error("it did not fail")
		}
	}},
	{"guarded", func(t *testing.T, l *Loan) {
		must(l.Guard(unix.SYS_CLOSE, 77))(t)
		must(l.Call(unix.SYS_DUP2, 1, 77))(t)
	}},
	{"guarded no more", func(t *testing.T, l *Loan) {
		over := must(l.Guard(unix.SYS_CLOSE, 1))(t)
		check(t, over())
	}},
	{"half returned", func(t *testing.T, l *Loan) {
		check(t, CallOK(l, "unmap", unix.SYS_MUNMAP, l.Scratch().Addr, l.Scratch().Len))
		check(t, l.t.interruptFromCall())
	}},
	{"returned", func(t *testing.T, l *Loan) { check(t, l.Return()) }},
}

// stand brings the thread so many stops into a call.
func (l *Loan) standAt(t *testing.T, nr uintptr, args []uint64, stops int) {
	regs := l.saved
	regs.setCall(l.slotAddr(l.slot), nr, args)
	check(t, l.t.SetRegs(&regs))
	l.t.inStop = false
	for range stops {
		check(t, l.t.toSyscallStop())
	}
}

// TestTracerDies: whenever the thread that holds a loan ends, the program runs on
// as if nothing had been.
func TestTracerDies(t *testing.T) {
	for _, how := range []string{"spin", "echo"} {
		p := startTarget(t, how)
		if how == "echo" {
			sleeps(t, p.pid, unix.SYS_READ)
		}
		before := p.state()
		for _, death := range deaths {
			another(func() {
				tr, place := held(t, NewGroup(10*time.Second, nil), p.pid)
				l := must(tr.Borrow(place))(t)
				death.at(t, l)
			})
			t.Log(how, death.name)
			p.settled(before)
			p.worksOn(how)
			if how == "echo" {
				sleeps(t, p.pid, unix.SYS_READ)
			}
		}
	}
}

// TestTightTracerDies is the same for a program that may map nothing more.
func TestTightTracerDies(t *testing.T) {
	p := startTarget(t, "tight")
	before := p.state()
	for _, death := range deaths {
		if death.name == "a pipe made" || death.name == "half returned" {
			continue
		}
		var spare Range
		another(func() {
			tr, place := held(t, NewGroup(10*time.Second, nil), p.pid)
			l := must(tr.Borrow(place))(t)
			if spare = l.Scratch(); !l.Tight() || spare.Len != TightBytes {
				t.Errorf("scratch %+v", spare)
			}
			if _, err := l.Pipe(1 << 16); err == nil {
				t.Error("there is room for a pipe")
			}
			death.at(t, l)
		})
		t.Log(death.name)
		p.settled(before)
		p.runs(0)
		b := make([]byte, TightBytes)
		if _, err := vmRead(p.pid, spare.Addr, b); err != nil || !bytes.Equal(b, make([]byte, TightBytes)) {
			t.Fatalf("%s: its stack has %x (%v)", death.name, b, err)
		}
	}
}

// TestReturnTight: a tight loan is given back with the stack as it was.
func TestReturnTight(t *testing.T) {
	p := startTarget(t, "tight")
	before := p.state()
	g := newGroup(t)
	tr, place := held(t, g, p.pid)
	l := must(tr.Borrow(place))(t)
	at := l.Scratch()
	check(t, tr.WriteMem(at.Addr, bytes.Repeat([]byte{1}, int(at.Len))))
	check(t, l.Return())
	b := make([]byte, at.Len)
	check(t, tr.ReadMem(at.Addr, b))
	if !bytes.Equal(b, make([]byte, at.Len)) {
		t.Errorf("%x is left", b)
	}
	check(t, g.ReleaseAll())
	p.settled(before)
	p.worksOn("tight")
}

// TestComeHome: a thread that has not come home yet is brought there, and goes on.
func TestComeHome(t *testing.T) {
	p := startTarget(t, "spin")
	before := p.state()
	auxv := must(proc.ReadAuxv(p.pid))(t)
	home := must(FindHome(auxv))(t)
	another(func() {
		tr, place := held(t, NewGroup(10*time.Second, nil), p.pid)
		must(tr.Borrow(place))(t)
		check(t, unix.Kill(p.pid, unix.SIGSTOP)) // it stands before the first step, without a tracer
	})
	g := newGroup(t)
	tr := must(g.Seize(p.pid, p.pid))(t)
	if ip := must(tr.Regs())(t).IP(); ip < home.start || ip >= home.end {
		t.Fatalf("it stands at %x, not in %+v", ip, home)
	}
	check(t, tr.ComeHome(home, 10*time.Second))
	ip := must(tr.Regs())(t).IP()
	if ip >= home.start && ip < home.end {
		t.Fatalf("it stands at %x", ip)
	}
	check(t, tr.ComeHome(home, 0))                                                                      // there is nothing left to do
	if err := tr.ComeHome(Home{ip - 500, ip + 500}, 20*time.Millisecond); !errors.Is(err, ErrTimeout) { // which it never leaves
		t.Error(err)
	}
	check(t, g.ReleaseAll())
	soon(t, "it to be stopped, as it was", func() bool { return must(proc.ReadStat(p.pid))(t).State == 'T' })
	check(t, unix.Kill(p.pid, unix.SIGCONT))
	p.settled(before)
	p.runs(0)
}

// TestStopDuringLoan: a signal that stops or goes on with the program while calls
// are made in it is neither lost nor gets into them.
func TestStopDuringLoan(t *testing.T) {
	p := startTarget(t, "spin")
	before := p.state()
	g := newGroup(t)
	tr, place := held(t, g, p.pid)
	l := must(tr.Borrow(place))(t)
	for i, sig := range []unix.Signal{unix.SIGSTOP, unix.SIGCONT, unix.SIGTSTP, unix.SIGSTOP} {
		check(t, unix.Kill(p.pid, sig))
		if pid := must(l.Call(unix.SYS_GETPID))(t); pid != uint64(p.pid) {
			t.Fatalf("%d: getpid says %d", i, pid)
		}
	}
	check(t, l.Return())
	check(t, g.ReleaseAll())
	soon(t, "it to be stopped", func() bool { return must(proc.ReadStat(p.pid))(t).State == 'T' })
	check(t, unix.Kill(p.pid, unix.SIGCONT))
	p.settled(before)
	p.runs(0)
}

// TestTargetDies: what is killed while it is on loan is an error that says so.
func TestTargetDies(t *testing.T) {
	p := startTarget(t, "spin")
	g := newGroup(t)
	tr, place := held(t, g, p.pid)
	l := must(tr.Borrow(place))(t)
	check(t, unix.Kill(p.pid, unix.SIGKILL))
	_, err := l.Call(unix.SYS_GETPID)
	for err == nil {
		_, err = l.Call(unix.SYS_GETPID)
	}
	says(t, err, fmt.Sprintf("pid %d: ", p.pid))
	says(t, err, ErrDead.Error())
	if err := l.Return(); err != nil && tr.dead {
		t.Error(err)
	}
}

// TestOneSlot: with room for one way home only, calls are made, but none that is
// to be taken back.
func TestOneSlot(t *testing.T) {
	p := startTarget(t, "spin")
	before := p.state()
	g := newGroup(t)
	tr, place := held(t, g, p.pid)
	place.slots = 1
	l := must(tr.Borrow(place))(t)
	must(l.Call(unix.SYS_GETPID))(t)
	says(t, l.CallAndBack(unix.SYS_DUP2, []uint64{1, 77}, unix.SYS_CLOSE, []uint64{77}), "384 unused bytes")
	_, err := l.Guard(unix.SYS_CLOSE, 77)
	says(t, err, "384 unused bytes")
	_, err = l.Pipe(1)
	says(t, err, "384 unused bytes")
	check(t, l.Return())
	check(t, g.ReleaseAll())
	p.settled(before)
	p.runs(0)
}

// TestPipe: pages come out of the program by reference, in the order asked for.
func TestPipe(t *testing.T) {
	p := startTarget(t, "spin")
	before := p.state()
	g := newGroup(t)
	tr, place := held(t, g, p.pid)
	l := must(tr.Borrow(place))(t)
	pipe := must(l.Pipe(1 << 16))(t)
	if again := must(l.Pipe(1))(t); again != pipe || pipe.Capacity < pageBytes {
		t.Errorf("%+v, %+v", pipe, again)
	}
	var ranges []Range
	var want []byte
	for _, m := range must(proc.ReadMaps(p.pid))(t) {
		if m.Prot&unix.PROT_READ != 0 && m.Inode != 0 && len(ranges) < 3 {
			ranges = append(ranges, Range{m.Start, pageBytes})
			b := make([]byte, pageBytes)
			check(t, tr.ReadMem(m.Start, b))
			want = append(want, b...)
		}
	}
	n := must(pipe.Fill(ranges))(t)
	got := make([]byte, n)
	if _, err := pipe.Out.Read(got); err != nil || !bytes.Equal(got, want[:n]) || n == 0 {
		t.Errorf("%d bytes of %d, %v", n, len(want), err)
	}
	if _, err := pipe.Fill(make([]Range, 1025)); err != unix.EINVAL {
		t.Error(err)
	}
	_, err := pipe.Fill([]Range{{1 << 46, pageBytes}})
	says(t, err, "take its pages")
	check(t, l.Return())
	check(t, g.ReleaseAll())
	p.settled(before)
	p.runs(0)
}

// TestReadVec: several ranges at once, up to the first that can't be read.
func TestReadVec(t *testing.T) {
	p := settledStub(t)
	at := mapped(t, p, 4*pageBytes, unix.PROT_READ|unix.PROT_WRITE)
	for i := range uint64(4) {
		check(t, p.t.WriteMem(at+i*pageBytes, bytes.Repeat([]byte{byte(i + 1)}, pageBytes)))
	}
	buf := make([]byte, 3*pageBytes)
	n, err := ReadVec(p.t.PID, buf, []Range{{at + 2*pageBytes, pageBytes}, {at, 2 * pageBytes}})
	if err != nil || n != len(buf) || buf[0] != 3 || buf[pageBytes] != 1 || buf[2*pageBytes] != 2 {
		t.Errorf("%d, %v, %x %x %x", n, err, buf[0], buf[pageBytes], buf[2*pageBytes])
	}
	check(t, CallOK(p, "protect", unix.SYS_MPROTECT, at+pageBytes, pageBytes, unix.PROT_NONE))
	if n, err := ReadVec(p.t.PID, buf, []Range{{at, 3 * pageBytes}}); err != nil || n != pageBytes {
		t.Errorf("%d bytes, %v", n, err)
	}
	if _, err := ReadVec(p.t.PID, buf, []Range{{at + pageBytes, pageBytes}}); Errno(err) != unix.EFAULT {
		t.Error(err)
	}
	b := make([]byte, pageBytes)
	says(t, p.t.ReadMem(at+pageBytes, b), "read 4096 bytes at")
	says(t, p.t.WriteMem(at+pageBytes, b), "write 4096 bytes at")
	says(t, p.t.ReadMem(at, make([]byte, 2*pageBytes)), "bad address")
	says(t, p.t.WriteMem(at, make([]byte, 2*pageBytes)), "bad address")
	check(t, p.t.ReadMem(1<<46, nil))
	check(t, p.t.WriteMem(1<<46, nil))
	check(t, p.t.poke(at+pageBytes, []byte("past protection")))
	says(t, p.t.poke(1<<46, []byte("x")), "write 1 bytes at")
	mem := must(p.t.OpenMem())(t)
	defer mem.Close()
	got := make([]byte, 15)
	if _, err := mem.ReadAt(got, int64(at+pageBytes)); err != nil || string(got) != "past protection" {
		t.Errorf("%q, %v", got, err)
	}
	if Errno(os.ErrClosed) != 0 {
		t.Error("an error that is none of the kernel's has a number")
	}
}
