//go:build amd64

package tracee_test

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/loan"
	"ckpt/internal/proc"
	"ckpt/internal/testkit"
	"ckpt/internal/testkit/stub"
	"ckpt/internal/tracee"
)

// waits are the calls in which a program of testdata waits for 1.5 seconds.
var waits = []struct {
	how string
	nr  int // 0 for one that begins from the start again
	in  int // the call that it is in
}{
	{"nanosleep", unix.SYS_NANOSLEEP, unix.SYS_NANOSLEEP},
	{"nanosleep-rest", unix.SYS_NANOSLEEP, unix.SYS_NANOSLEEP},
	{"clock", unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP},
	{"poll", unix.SYS_POLL, unix.SYS_POLL},
	{"futex", unix.SYS_FUTEX, unix.SYS_FUTEX},
	{"epoll", 0, unix.SYS_EPOLL_WAIT},
}

// slack is more than what the kernel may add to a wait, see PR_SET_TIMERSLACK in prctl(2).
const slack = time.Millisecond

// TestWaits: a program that is held twice while it waits, with calls made in it, waits as long
// as it would have anyway, and no call fails; and the time that is left is known.
func TestWaits(t *testing.T) {
	for _, w := range waits {
		t.Run(w.how, func(t *testing.T) {
			t.Parallel()
			p := testkit.StartTarget(t, w.how)
			testkit.Sleeps(t, p.PID, w.in)
			for round := range 2 {
				g := testkit.NewGroup(t)
				tr, place := held(t, g, p.PID)
				if ran := testkit.Must(tr.RecallWait(time.Second))(t); ran && w.nr == 0 {
					t.Error("it was let run")
				}
				regs := testkit.Must(tr.Regs())(t)
				left := testkit.Must(tr.TimeLeft(regs, 0))(t)
				switch {
				case w.nr == 0 && left != nil, w.nr != 0 && (left == nil || left.NR != w.nr || left.Left <= 0 || left.Left > 1500*time.Millisecond+slack):
					t.Errorf("round %d: %+v", round, left)
				}
				l := testkit.Must(loan.Borrow(tr, place))(t)
				testkit.Must(l.Call(unix.SYS_GETPID))(t)
				testkit.Check(t, l.Return())
				testkit.Check(t, g.ReleaseAll())
				testkit.Soon(t, "it to wait again", func() bool { return testkit.IsZombie(p.PID) || waitsAgain(p.PID, w.in) })
			}
			testkit.Soon(t, "its end", func() bool { return testkit.IsZombie(p.PID) })
			took := p.Count(0)
			if err := p.Cmd.Wait(); err != nil || took < 1490 {
				t.Errorf("waited for %d ms, %v", took, err)
			}
		})
	}
}

func waitsAgain(pid, nr int) bool {
	call, err := proc.ReadSyscall(pid, pid)
	return err == nil && (call == nr || call == unix.SYS_RESTART_SYSCALL)
}

// TestResume: a puppet goes on with a wait that another thread began.
func TestResume(t *testing.T) {
	for _, w := range waits {
		if w.nr == 0 {
			continue
		}
		p := stub.Settled(t)
		word := p.Scratch().Addr + 256
		regs := *testkit.Must(p.Tracee().Regs())(t)
		regs.Rdi, regs.Rsi, regs.Rdx, regs.R10 = 0, 0, 0, 0
		switch w.nr {
		case unix.SYS_CLOCK_NANOSLEEP:
			regs.Rdi, regs.Rsi = unix.CLOCK_MONOTONIC, 0
		case unix.SYS_FUTEX:
			regs.Rdi, regs.Rsi, regs.Rdx = word, tracee.FutexWait, 0
		case unix.SYS_POLL:
			regs.Rdi, regs.Rsi = 0, 0
		}
		regs.Rax, regs.Orig_rax = 1<<64+tracee.RestartBlock, uint64(w.nr)
		begin := time.Now()
		testkit.Check(t, p.Resume(&tracee.Wait{NR: w.nr, Left: 50 * time.Millisecond}, &regs))
		if regs.Orig_rax != uint64(w.nr) || !regs.NeedsRewind() {
			t.Fatalf("%s: %+v", w.how, regs)
		}
		const exit = 3000 // behind the call: an int3
		regs.Rip = p.Own().Addr + exit
		testkit.Check(t, p.Tracee().Poke(regs.Rip-uint64(len(tracee.SyscallInsn)), append(slices.Clone(tracee.SyscallInsn), 0xcc)))
		testkit.Check(t, p.Prepare(&regs, nil, 0, true))
		testkit.Check(t, unix.PtraceCont(p.Tracee().TID, 0))
		s := testkit.Must(p.Tracee().Wait(0))(t)
		took := time.Since(begin)
		got := testkit.Must(p.Tracee().Regs())(t)
		want := int64(0)
		if w.nr == unix.SYS_FUTEX {
			want = -int64(unix.ETIMEDOUT)
		}
		if s.Sig != unix.SIGTRAP || int64(got.Rax) != want || took < 50*time.Millisecond {
			t.Errorf("%s: stop %+v, result %d, after %v", w.how, s, int64(got.Rax), took)
		}
	}
	p := stub.Settled(t)
	regs := *testkit.Must(p.Tracee().Regs())(t)
	was := regs
	testkit.Check(t, p.Resume(&tracee.Wait{NR: unix.SYS_READ}, &regs)) // from an older stream
	if regs != was {
		t.Error("registers were changed")
	}
	regs.Rax, regs.Rdi, regs.Rsi = 0, 0, 0
	testkit.Check(t, p.Resume(&tracee.Wait{NR: unix.SYS_POLL}, &regs)) // no time is left: it is over
	if regs.Rax != 0 || regs.Interrupted() >= 0 {
		t.Errorf("%+v", regs)
	}
}

// TestTimeLeft: what the kernel wrote about an interrupted wait, and what a program may have
// written there.
func TestTimeLeft(t *testing.T) {
	p := stub.Settled(t)
	at := p.Scratch().Addr
	timespec := func(at uint64, sec, nsec int64) uint64 {
		b := binary.LittleEndian.AppendUint64(nil, uint64(sec))
		testkit.Check(t, p.Tracee().WriteMem(at, binary.LittleEndian.AppendUint64(b, uint64(nsec))))
		return at
	}
	ten, one := timespec(at, 10, 0), timespec(at+16, 1, 500)
	huge, negative := timespec(at+32, 1<<62, 1<<62), timespec(at+48, -5, 5)
	const none = -1
	for name, c := range map[string]struct {
		nr                 int
		rdi, rsi, rdx, r10 uint64
		asleep, want       time.Duration
	}{
		"nanosleep":                  {unix.SYS_NANOSLEEP, ten, 0, 0, 0, 3 * time.Second, 7 * time.Second},
		"nanosleep, the rest told":   {unix.SYS_NANOSLEEP, ten, one, 0, 0, 3 * time.Second, time.Second + 500},
		"nanosleep, slept too long":  {unix.SYS_NANOSLEEP, ten, 0, 0, 0, 30 * time.Second, 0},
		"nanosleep, for ever":        {unix.SYS_NANOSLEEP, huge, 0, 0, 0, 0, tracee.MaxWaitSeconds*time.Second + time.Second},
		"nanosleep, less than none":  {unix.SYS_NANOSLEEP, negative, 0, 0, 0, 0, 5},
		"clock_nanosleep":            {unix.SYS_CLOCK_NANOSLEEP, 1, 0, ten, 0, time.Second, 9 * time.Second},
		"clock_nanosleep, rest told": {unix.SYS_CLOCK_NANOSLEEP, 1, 0, ten, one, time.Second, time.Second + 500},
		"clock_nanosleep until":      {unix.SYS_CLOCK_NANOSLEEP, 1, 1, ten, 0, 0, none},
		"futex":                      {unix.SYS_FUTEX, at, 128, 0, ten, time.Second, 9 * time.Second},
		"futex without end":          {unix.SYS_FUTEX, at, 128, 0, 0, 0, none},
		"futex bitset":               {unix.SYS_FUTEX, at, 9, 0, ten, 0, none},
		"poll":                       {unix.SYS_POLL, 0, 0, 2000, 0, time.Second, time.Second},
		"poll without end":           {unix.SYS_POLL, 0, 0, 1<<64 - 1, 0, time.Second, none},
		"poll, high bits":            {unix.SYS_POLL, 0, 0, 7<<32 + 2000, 0, time.Second, time.Second},
		"read":                       {unix.SYS_READ, 0, 0, 0, 0, 0, none},
	} {
		var r tracee.Regs
		r.Orig_rax, r.Rax = uint64(c.nr), 1<<64+tracee.RestartBlock
		r.Rdi, r.Rsi, r.Rdx, r.R10 = c.rdi, c.rsi, c.rdx, c.r10
		w, err := p.Tracee().TimeLeft(&r, c.asleep)
		testkit.Check(t, err)
		if (w == nil) != (c.want == none) || w != nil && (w.Left != c.want || w.NR != c.nr) {
			t.Errorf("%s: %+v", name, w)
		}
	}
	var r tracee.Regs
	r.Orig_rax, r.Rax, r.Rdi = unix.SYS_NANOSLEEP, 1<<64+tracee.RestartBlock, 1<<46
	_, err := p.Tracee().TimeLeft(&r, 0)
	testkit.Says(t, err, "read 16 bytes at")
}

// TestWaitAt: which call a thread sleeps in, judging by the kernel function and the
// arguments.
func TestWaitAt(t *testing.T) {
	regs := func(rdi, rsi uint64) *tracee.Regs {
		return &tracee.Regs{PtraceRegs: unix.PtraceRegs{Rdi: rdi, Rsi: rsi}}
	}
	for _, c := range []struct {
		wchan string
		regs  *tracee.Regs
		want  int
	}{
		{"", regs(0, 0), -1},
		{"futex_wait_queue", regs(0x7f0000000000, 0), unix.SYS_FUTEX},
		{"do_sys_poll", regs(0, 0), unix.SYS_POLL},
		{"poll_schedule_timeout.constprop.0", regs(0, 0), unix.SYS_POLL},
		{"hrtimer_nanosleep", regs(0, 0), unix.SYS_CLOCK_NANOSLEEP},
		{"hrtimer_nanosleep", regs(11, 1), unix.SYS_CLOCK_NANOSLEEP},
		{"hrtimer_nanosleep", regs(1<<64-6, 0), unix.SYS_CLOCK_NANOSLEEP},        // a CPU clock
		{"hrtimer_nanosleep", regs(1<<32-6, 0), unix.SYS_CLOCK_NANOSLEEP},        // the same, as an int
		{"hrtimer_nanosleep", regs(1<<32-6, 0x7f0000000000), unix.SYS_NANOSLEEP}, // an address
		{"hrtimer_nanosleep", regs(0x7f0000000000, 0), unix.SYS_NANOSLEEP},
	} {
		if got := tracee.WaitAt(c.wchan, c.regs); got != c.want {
			t.Errorf("%q, %x, %x: %d, not %d", c.wchan, c.regs.Rdi, c.regs.Rsi, got, c.want)
		}
	}
}

// TestNumberBefore: the number of the call as it is in the program's code.
func TestNumberBefore(t *testing.T) {
	p := stub.Settled(t)
	at := p.Scratch().Addr
	for _, c := range []struct {
		code []byte
		want int
	}{
		{[]byte{0xb8, unix.SYS_POLL, 0, 0, 0, 0x0f, 0x05}, unix.SYS_POLL},
		{[]byte{0xb8, unix.SYS_CLOCK_NANOSLEEP, 0, 0, 0, 0x0f, 0x05}, unix.SYS_CLOCK_NANOSLEEP},
		{[]byte{0xb8, unix.SYS_READ, 0, 0, 0, 0x0f, 0x05}, -1},
		{[]byte{0xb9, unix.SYS_POLL, 0, 0, 0, 0x0f, 0x05}, -1},
		{[]byte{0xb8, unix.SYS_POLL, 0, 0, 0x80, 0x0f, 0x05}, -1},
	} {
		testkit.Check(t, p.Tracee().WriteMem(at, c.code))
		if got := p.Tracee().NumberBefore(at + 7); got != c.want {
			t.Errorf("%x: %d", c.code, got)
		}
	}
	if got := p.Tracee().NumberBefore(1 << 46); got != -1 {
		t.Errorf("of no code: %d", got)
	}
	if (&tracee.Regs{}).UnknownWait() {
		t.Error("no wait is an unknown one")
	}
}

// held seizes a target's first thread and finds a Place in it.
func held(t testing.TB, g *tracee.Group, pid int) (*tracee.Tracee, *loan.Place) {
	t.Helper()
	tr := testkit.Must(g.Seize(pid, pid))(t)
	testkit.Check(t, tr.HideStop())
	maps := testkit.Must(proc.ReadMaps(pid))(t)
	fds := testkit.Must(proc.FDs(pid))(t)
	return tr, testkit.Must(loan.FindPlace(tr, maps, fds, 0))(t)
}
