//go:build amd64

package loan

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
	"ckpt/internal/proc"
	"ckpt/internal/testkit"
	"ckpt/internal/testkit/stub"
	"ckpt/internal/tracee"
)

// TestLoan: calls are made in a program's name, and everything in it is as before.
func TestLoan(t *testing.T) {
	for _, how := range []string{"spin", "echo", "naps"} {
		p := testkit.StartTarget(t, how)
		before := p.State()
		g := testkit.NewGroup(t)
		tr, place := held(t, g, p.PID)
		regs := *testkit.Must(tr.Regs())(t)
		l := testkit.Must(Borrow(tr, place))(t)
		if pid := testkit.Must(l.Call(unix.SYS_GETPID))(t); pid != uint64(p.PID) {
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
		testkit.Check(t, tr.WriteMem(l.Scratch().Addr, []byte("x")))
		if m := testkit.MappingAt(t, p.PID, l.Scratch().Addr); m == nil {
			t.Errorf("%s: its scratch is not there", how)
		}
		testkit.Check(t, l.Return())
		if now := *testkit.Must(tr.Regs())(t); now != regs {
			t.Errorf("%s: registers\n%+v, not\n%+v", how, now, regs)
		}
		home := make([]byte, place.slots*slotBytes)
		testkit.Check(t, tr.ReadMem(place.code, home))
		if !bytes.Equal(home, make([]byte, len(home))) {
			t.Errorf("%s: the way home is left", how)
		}
		testkit.Check(t, g.ReleaseAll())
		p.Settled(before)
		worksOn(t, p, how)
	}
}

// worksOn checks that a program still does its work.
func worksOn(t *testing.T, p *testkit.Target, how string) {
	t.Helper()
	switch how {
	case "spin", "tight":
		p.Runs(0)
		p.Runs(0)
	case "echo":
		if _, err := p.In.Write([]byte("q")); err != nil || p.Hears() != 'q' {
			t.Errorf("no echo (%v)", err)
		}
	}
}

// deaths are the moments at which a loan's tracer dies: each goes that far and returns.
var deaths = []struct {
	name string
	at   func(t *testing.T, l *Loan)
}{
	{"borrowed", func(*testing.T, *Loan) {}},
	{"behind a call", func(t *testing.T, l *Loan) { testkit.Must(l.Call(unix.SYS_GETPPID))(t) }},
	{"before a call", func(t *testing.T, l *Loan) { l.standAt(t, unix.SYS_GETPPID, nil, 0) }},
	{"at the entry of a call", func(t *testing.T, l *Loan) { l.standAt(t, unix.SYS_GETPPID, nil, 1) }},
	{"at the entry of one that fails", func(t *testing.T, l *Loan) { l.standAt(t, unix.SYS_CLOSE, []uint64{1 << 30}, 1) }},
	{"scratch used", func(t *testing.T, l *Loan) {
		testkit.Check(t, l.t.WriteMem(l.Scratch().Addr, bytes.Repeat([]byte{0xff}, int(l.Scratch().Len))))
	}},
	{"a pipe made", func(t *testing.T, l *Loan) { testkit.Must(l.Pipe(1 << 16))(t).Out.Close() }},
	{"a call to be taken back", func(t *testing.T, l *Loan) {
		testkit.Check(t, l.CallAndBack(unix.SYS_DUP2, []uint64{1, 77}, unix.SYS_CLOSE, []uint64{77}))
	}},
	{"several to be taken back", func(t *testing.T, l *Loan) {
		for fd := range uint64(MaxBack) {
			testkit.Check(t, l.CallAndBack(unix.SYS_DUP2, []uint64{1, 77 + fd}, unix.SYS_CLOSE, []uint64{77 + fd}))
		}
	}},
	{"one failed", func(t *testing.T, l *Loan) {
		if err := l.CallAndBack(unix.SYS_DUP2, []uint64{1 << 30, 77}, unix.SYS_CLOSE, []uint64{1}); err == nil {
			t.Error("it did not fail")
		}
	}},
	{"guarded", func(t *testing.T, l *Loan) {
		testkit.Must(l.Guard(unix.SYS_CLOSE, 77))(t)
		testkit.Must(l.Call(unix.SYS_DUP2, 1, 77))(t)
	}},
	{"no longer guarded", func(t *testing.T, l *Loan) {
		over := testkit.Must(l.Guard(unix.SYS_CLOSE, 1))(t)
		testkit.Check(t, over())
	}},
	{"half returned", func(t *testing.T, l *Loan) {
		testkit.Check(t, tracee.CallOK(l, "unmap", unix.SYS_MUNMAP, l.Scratch().Addr, l.Scratch().Len))
		testkit.Check(t, l.t.InterruptFromCall())
	}},
	{"returned", func(t *testing.T, l *Loan) { testkit.Check(t, l.Return()) }},
}

// stand runs the thread for a number of stops into a call.
func (l *Loan) standAt(t *testing.T, nr uintptr, args []uint64, stops int) {
	regs := l.saved
	regs.SetCall(l.slotAddr(l.slot), nr, args)
	testkit.Check(t, l.t.SetRegs(&regs))
	for range stops {
		testkit.Check(t, unix.PtraceSyscall(l.t.TID, 0))
		testkit.Must(l.t.Wait(0))(t)
	}
}

// TestTracerDies: whenever the thread that holds a loan ends, the program runs on as if
// nothing had happened.
func TestTracerDies(t *testing.T) {
	for _, how := range []string{"spin", "echo"} {
		p := testkit.StartTarget(t, how)
		if how == "echo" {
			testkit.Sleeps(t, p.PID, unix.SYS_READ)
		}
		before := p.State()
		for _, death := range deaths {
			testkit.Another(func() {
				tr, place := held(t, tracee.NewGroup(10*time.Second, nil), p.PID)
				l := testkit.Must(Borrow(tr, place))(t)
				death.at(t, l)
			})
			t.Log(how, death.name)
			p.Settled(before)
			worksOn(t, p, how)
			if how == "echo" {
				testkit.Sleeps(t, p.PID, unix.SYS_READ)
			}
		}
	}
}

// TestTightTracerDies is the same for a program that may map nothing more.
func TestTightTracerDies(t *testing.T) {
	p := testkit.StartTarget(t, "tight")
	before := p.State()
	for _, death := range deaths {
		if death.name == "a pipe made" || death.name == "half returned" {
			continue
		}
		var spare tracee.Range
		testkit.Another(func() {
			tr, place := held(t, tracee.NewGroup(10*time.Second, nil), p.PID)
			l := testkit.Must(Borrow(tr, place))(t)
			if spare = l.Scratch(); !l.Tight() || spare.Len != TightBytes {
				t.Errorf("scratch %+v", spare)
			}
			if _, err := l.Pipe(1 << 16); err == nil {
				t.Error("there is room for a pipe")
			}
			death.at(t, l)
		})
		t.Log(death.name)
		p.Settled(before)
		p.Runs(0)
		b := make([]byte, TightBytes)
		if _, err := tracee.ReadVec(p.PID, b, []tracee.Range{spare}); err != nil || !bytes.Equal(b, make([]byte, TightBytes)) {
			t.Fatalf("%s: its stack has %x (%v)", death.name, b, err)
		}
	}
}

// TestReturnTight: after a tight loan the stack is as it was.
func TestReturnTight(t *testing.T) {
	p := testkit.StartTarget(t, "tight")
	before := p.State()
	g := testkit.NewGroup(t)
	tr, place := held(t, g, p.PID)
	l := testkit.Must(Borrow(tr, place))(t)
	at := l.Scratch()
	testkit.Check(t, tr.WriteMem(at.Addr, bytes.Repeat([]byte{1}, int(at.Len))))
	testkit.Check(t, l.Return())
	b := make([]byte, at.Len)
	testkit.Check(t, tr.ReadMem(at.Addr, b))
	if !bytes.Equal(b, make([]byte, at.Len)) {
		t.Errorf("%x is left", b)
	}
	testkit.Check(t, g.ReleaseAll())
	p.Settled(before)
	worksOn(t, p, "tight")
}

// TestComeHome: a thread that has not come home yet comes home, and goes on.
func TestComeHome(t *testing.T) {
	p := testkit.StartTarget(t, "spin")
	before := p.State()
	auxv := testkit.Must(proc.ReadAuxv(p.PID))(t)
	home := testkit.Must(FindHome(auxv))(t)
	testkit.Another(func() {
		tr, place := held(t, tracee.NewGroup(10*time.Second, nil), p.PID)
		testkit.Must(Borrow(tr, place))(t)
		testkit.Check(t, unix.Kill(p.PID, unix.SIGSTOP)) // it is stopped before the first instruction, without a tracer
	})
	g := testkit.NewGroup(t)
	tr := testkit.Must(g.Seize(p.PID, p.PID))(t)
	if ip := testkit.Must(tr.Regs())(t).IP(); ip < home.start || ip >= home.end {
		t.Fatalf("it stands at %x, not in %+v", ip, home)
	}
	testkit.Check(t, ComeHome(tr, home, 10*time.Second))
	ip := testkit.Must(tr.Regs())(t).IP()
	if ip >= home.start && ip < home.end {
		t.Fatalf("it stands at %x", ip)
	}
	testkit.Check(t, ComeHome(tr, home, 0))                                                                     // there is nothing left to do
	if err := ComeHome(tr, Home{ip - 500, ip + 500}, 20*time.Millisecond); !errors.Is(err, tracee.ErrTimeout) { // which it never leaves
		t.Error(err)
	}
	testkit.Check(t, g.ReleaseAll())
	testkit.Soon(t, "it to be stopped, as it was", func() bool { return testkit.Must(proc.ReadStat(p.PID))(t).State == 'T' })
	testkit.Check(t, unix.Kill(p.PID, unix.SIGCONT))
	p.Settled(before)
	p.Runs(0)
}

// TestStopDuringLoan: a signal that stops or continues the program while calls are made in it
// is not lost, and does not disturb the calls.
func TestStopDuringLoan(t *testing.T) {
	p := testkit.StartTarget(t, "spin")
	before := p.State()
	g := testkit.NewGroup(t)
	tr, place := held(t, g, p.PID)
	l := testkit.Must(Borrow(tr, place))(t)
	for i, sig := range []unix.Signal{unix.SIGSTOP, unix.SIGCONT, unix.SIGTSTP, unix.SIGSTOP} {
		testkit.Check(t, unix.Kill(p.PID, sig))
		if pid := testkit.Must(l.Call(unix.SYS_GETPID))(t); pid != uint64(p.PID) {
			t.Fatalf("%d: getpid says %d", i, pid)
		}
	}
	testkit.Check(t, l.Return())
	testkit.Check(t, g.ReleaseAll())
	testkit.Soon(t, "it to be stopped", func() bool { return testkit.Must(proc.ReadStat(p.PID))(t).State == 'T' })
	testkit.Check(t, unix.Kill(p.PID, unix.SIGCONT))
	p.Settled(before)
	p.Runs(0)
}

// TestTargetDies: if the target is killed during a loan, the error says so.
func TestTargetDies(t *testing.T) {
	p := testkit.StartTarget(t, "spin")
	g := testkit.NewGroup(t)
	tr, place := held(t, g, p.PID)
	l := testkit.Must(Borrow(tr, place))(t)
	testkit.Check(t, unix.Kill(p.PID, unix.SIGKILL))
	_, err := l.Call(unix.SYS_GETPID)
	for err == nil {
		_, err = l.Call(unix.SYS_GETPID)
	}
	testkit.Says(t, err, fmt.Sprintf("pid %d: ", p.PID))
	testkit.Says(t, err, tracee.ErrDead.Error())
	if err := l.Return(); err != nil && tr.Dead() {
		t.Error(err)
	}
}

// TestOneSlot: with room for only one way home, calls are made, but none that must be taken
// back.
func TestOneSlot(t *testing.T) {
	p := testkit.StartTarget(t, "spin")
	before := p.State()
	g := testkit.NewGroup(t)
	tr, place := held(t, g, p.PID)
	place.slots = 1
	l := testkit.Must(Borrow(tr, place))(t)
	testkit.Must(l.Call(unix.SYS_GETPID))(t)
	testkit.Says(t, l.CallAndBack(unix.SYS_DUP2, []uint64{1, 77}, unix.SYS_CLOSE, []uint64{77}), "384 unused bytes")
	_, err := l.Guard(unix.SYS_CLOSE, 77)
	testkit.Says(t, err, "384 unused bytes")
	_, err = l.Pipe(1)
	testkit.Says(t, err, "384 unused bytes")
	testkit.Check(t, l.Return())
	testkit.Check(t, g.ReleaseAll())
	p.Settled(before)
	p.Runs(0)
}

// TestPipe: pages come out of the program by reference, in the given order.
func TestPipe(t *testing.T) {
	p := testkit.StartTarget(t, "spin")
	before := p.State()
	g := testkit.NewGroup(t)
	tr, place := held(t, g, p.PID)
	l := testkit.Must(Borrow(tr, place))(t)
	pipe := testkit.Must(l.Pipe(1 << 16))(t)
	if again := testkit.Must(l.Pipe(1))(t); again != pipe || pipe.Capacity < abi.PageBytes {
		t.Errorf("%+v, %+v", pipe, again)
	}
	var ranges []tracee.Range
	var want []byte
	for _, m := range testkit.Must(proc.ReadMaps(p.PID))(t) {
		if m.Prot&unix.PROT_READ != 0 && m.Inode != 0 && len(ranges) < 3 {
			ranges = append(ranges, tracee.Range{Addr: m.Start, Len: abi.PageBytes})
			b := make([]byte, abi.PageBytes)
			testkit.Check(t, tr.ReadMem(m.Start, b))
			want = append(want, b...)
		}
	}
	n := testkit.Must(pipe.Fill(ranges))(t)
	got := make([]byte, n)
	if _, err := pipe.Out.Read(got); err != nil || !bytes.Equal(got, want[:n]) || n == 0 {
		t.Errorf("%d bytes of %d, %v", n, len(want), err)
	}
	if _, err := pipe.Fill(make([]tracee.Range, 1025)); err != unix.EINVAL {
		t.Error(err)
	}
	_, err := pipe.Fill([]tracee.Range{{Addr: 1 << 46, Len: abi.PageBytes}})
	testkit.Says(t, err, "take its pages")
	testkit.Check(t, l.Return())
	testkit.Check(t, g.ReleaseAll())
	p.Settled(before)
	p.Runs(0)
}

// TestReadVec: several ranges are read at once, up to the first that can't be read.
func TestReadVec(t *testing.T) {
	p := stub.Settled(t)
	at := stub.Map(t, p, 4*abi.PageBytes, unix.PROT_READ|unix.PROT_WRITE)
	for i := range uint64(4) {
		testkit.Check(t, p.Tracee().WriteMem(at+i*abi.PageBytes, bytes.Repeat([]byte{byte(i + 1)}, abi.PageBytes)))
	}
	buf := make([]byte, 3*abi.PageBytes)
	n, err := tracee.ReadVec(p.Tracee().PID, buf, []tracee.Range{{Addr: at + 2*abi.PageBytes, Len: abi.PageBytes}, {Addr: at, Len: 2 * abi.PageBytes}})
	if err != nil || n != len(buf) || buf[0] != 3 || buf[abi.PageBytes] != 1 || buf[2*abi.PageBytes] != 2 {
		t.Errorf("%d, %v, %x %x %x", n, err, buf[0], buf[abi.PageBytes], buf[2*abi.PageBytes])
	}
	testkit.Check(t, tracee.CallOK(p, "protect", unix.SYS_MPROTECT, at+abi.PageBytes, abi.PageBytes, unix.PROT_NONE))
	if n, err := tracee.ReadVec(p.Tracee().PID, buf, []tracee.Range{{Addr: at, Len: 3 * abi.PageBytes}}); err != nil || n != abi.PageBytes {
		t.Errorf("%d bytes, %v", n, err)
	}
	if _, err := tracee.ReadVec(p.Tracee().PID, buf, []tracee.Range{{Addr: at + abi.PageBytes, Len: abi.PageBytes}}); tracee.Errno(err) != unix.EFAULT {
		t.Error(err)
	}
	b := make([]byte, abi.PageBytes)
	testkit.Says(t, p.Tracee().ReadMem(at+abi.PageBytes, b), "read 4096 bytes at")
	testkit.Says(t, p.Tracee().WriteMem(at+abi.PageBytes, b), "write 4096 bytes at")
	testkit.Says(t, p.Tracee().ReadMem(at, make([]byte, 2*abi.PageBytes)), "bad address")
	testkit.Says(t, p.Tracee().WriteMem(at, make([]byte, 2*abi.PageBytes)), "bad address")
	testkit.Check(t, p.Tracee().ReadMem(1<<46, nil))
	testkit.Check(t, p.Tracee().WriteMem(1<<46, nil))
	testkit.Check(t, p.Tracee().Poke(at+abi.PageBytes, []byte("past protection")))
	testkit.Says(t, p.Tracee().Poke(1<<46, []byte("x")), "write 1 bytes at")
	mem := testkit.Must(p.Tracee().OpenMem())(t)
	defer mem.Close()
	got := make([]byte, 15)
	if _, err := mem.ReadAt(got, int64(at+abi.PageBytes)); err != nil || string(got) != "past protection" {
		t.Errorf("%q, %v", got, err)
	}
	if tracee.Errno(os.ErrClosed) != 0 {
		t.Error("an error that is none of the kernel's has a number")
	}
}
