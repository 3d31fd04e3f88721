//go:build amd64

package loan

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/testkit"
	"ckpt/internal/tracee"
)

// quizzed is xz with two compressing threads, whose registers matter.
type quizzed struct {
	cmd  *exec.Cmd
	data []byte
	out  bytes.Buffer
	pid  int
}

// startQuizzed starts an xz that works for seconds.
func startQuizzed(t *testing.T) *quizzed {
	t.Helper()
	const mib = 10
	x := &quizzed{data: make([]byte, mib<<20)}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range x.data {
		x.data[i] = "acgt"[r.IntN(4)]
	}
	x.cmd = exec.Command("xz", "-T3", "-2", "--block-size=1MiB", "-c")
	x.cmd.Stdin, x.cmd.Stdout = bytes.NewReader(x.data), &x.out
	if err := x.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	x.pid = x.cmd.Process.Pid
	t.Cleanup(func() {
		if x.cmd.ProcessState == nil {
			_ = x.cmd.Process.Kill()
			_ = x.cmd.Wait()
		}
	})
	testkit.Soon(t, "its threads to begin", func() bool {
		tids, err := proc.Threads(x.pid)
		return err != nil || len(tids) > 2
	})
	return x
}

// judge waits for its end and checks its output.
func (x *quizzed) judge(t *testing.T) {
	t.Helper()
	if err := x.cmd.Wait(); err != nil {
		t.Fatalf("the quizzed ended with %v", err)
	}
	back := exec.Command("xz", "-dc")
	back.Stdin = &x.out
	got, err := back.Output()
	if err != nil || !bytes.Equal(got, x.data) {
		t.Fatalf("the quizzed's output is wrong: %v", err)
	}
}

func (x *quizzed) runs() bool {
	stat, err := proc.ReadStat(x.pid)
	return err == nil && stat.State != 'Z'
}

// hold stops all threads of the quizzed, traced by the calling OS thread.
func (x *quizzed) hold() (*tracee.Group, []*tracee.Tracee, *Place, error) {
	g := tracee.NewGroup(10*time.Second, func(int, int) {})
	auxv, err := proc.ReadAuxv(x.pid)
	if err != nil {
		return nil, nil, nil, err
	}
	home, err := FindHome(auxv)
	if err != nil {
		return nil, nil, nil, err
	}
	var all []*tracee.Tracee
	for more := true; more; {
		more = false
		tids, err := proc.Threads(x.pid)
		if err != nil {
			return nil, nil, nil, err
		}
		for _, tid := range tids {
			if g.Holds(tid) {
				continue
			}
			more = true
			th, err := g.Seize(x.pid, tid)
			if err != nil {
				return nil, nil, nil, err
			}
			if err := ComeHome(th, home, 10*time.Second); err != nil {
				return nil, nil, nil, err
			}
			all = append(all, th)
		}
	}
	maps, err := proc.ReadMappings(x.pid)
	if err != nil {
		return nil, nil, nil, err
	}
	fds, err := proc.FDs(x.pid)
	if err != nil {
		return nil, nil, nil, err
	}
	place, err := FindPlace(all[0], maps, fds, 0)
	return g, all, place, err
}

var someQueries = []tracee.Query{
	{NR: unix.SYS_GETPID},
	{NR: unix.SYS_SIGALTSTACK, Out: 24, To: 1 << 1},
	{NR: unix.SYS_PRCTL, Args: [6]uint64{unix.PR_GET_NAME}, Out: 16, To: 1 << 1},
	{NR: unix.SYS_CLOSE, Args: [6]uint64{9999}},
	{NR: unix.SYS_GETITIMER, Out: 32, To: 1 << 1},
	{NR: unix.SYS_GETTID},
}

// checkAnswers compares what a thread answers with what is known about it.
func checkAnswers(l *Loan) error {
	answers, err := l.Ask(someQueries)
	if err != nil {
		return err
	}
	comm, err := proc.ReadComm(l.t.PID, l.t.TID)
	if err != nil {
		return err
	}
	switch {
	case int(answers[0].Ret) != l.t.PID || int(answers[5].Ret) != l.t.TID:
		return fmt.Errorf("thread %d of %d says it is %d of %d", l.t.TID, l.t.PID, answers[5].Ret, answers[0].Ret)
	case answers[3].Err != unix.EBADF:
		return fmt.Errorf("closing nothing: %v", answers[3].Err)
	case string(bytes.TrimRight(answers[2].Data, "\x00")) != comm:
		return fmt.Errorf("its name is %q, it says %q", comm, answers[2].Data)
	}
	return nil
}

// dies calls do with the quizzed on an OS thread that then ends and leaves everything as it
// is: for the kernel that is the death of a tracer.
func dies(t *testing.T, x *quizzed, do func() error) {
	t.Helper()
	end := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked, so that it ends with us
		end <- do()
	}()
	if err := <-end; err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		tids, _ := proc.Threads(x.pid)
		if !slices.ContainsFunc(tids, func(tid int) bool {
			status, err := proc.ReadThreadStatus(x.pid, tid)
			return err == nil && status.TracerPid != 0
		}) {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("the tracer does not die")
}

// TestTracerDiesAsking ends the tracer at each point of a loan: the quizzed goes on as if
// nothing had happened.
func TestTracerDiesAsking(t *testing.T) {
	begin := func(x *quizzed, do func(l *Loan, all []*tracee.Tracee) error) error {
		_, all, place, err := x.hold()
		if err != nil {
			return err
		}
		l, err := Borrow(all[0], place)
		if err != nil {
			return err
		}
		if place.ask == 0 || !l.canStopItself() {
			return errors.New("it has no room for what is to be tested")
		}
		return do(l, all)
	}
	started := func(l *Loan) error { // among its calls
		first, last := l.place.scratch.Addr, l.place.scratch.Addr
		var array []byte
		for range 200 {
			array = tracee.AppendEntry(array, unix.SYS_GETPPID, [6]uint64{}, 1)
			last += tracee.EntryBytes
		}
		array = tracee.AppendEntry(array, unix.SYS_TGKILL, [6]uint64{uint64(l.t.PID), uint64(l.t.TID), uint64(l.quietSignal())}, 0)
		home := make([]byte, goOnBytes)
		for i := range home {
			home[i] = byte(l.parkAddr() >> (8 * i))
		}
		regs := l.saved
		regs.SetAsk(l.place.ask, first)
		return errors.Join(l.t.WriteMem(first, append(array, home...)), l.block(^sigBit(l.quietSignal())),
			l.t.SetRegs(&regs), unix.PtraceCont(l.t.TID, 0))
	}
	for name, do := range map[string]func(l *Loan, all []*tracee.Tracee) error{
		"borrowed":      func(*Loan, []*tracee.Tracee) error { return nil },
		"asked":         func(l *Loan, _ []*tracee.Tracee) error { return checkAnswers(l) },
		"asked twice":   func(l *Loan, _ []*tracee.Tracee) error { return errors.Join(checkAnswers(l), checkAnswers(l)) },
		"about to stop": func(l *Loan, _ []*tracee.Tracee) error { return started(l) },
		"stopped by itself": func(l *Loan, _ []*tracee.Tracee) error {
			err := started(l)
			time.Sleep(time.Millisecond)
			return err
		},
		"two at once": func(l *Loan, all []*tracee.Tracee) error {
			if err := errors.Join(checkAnswers(l), l.park()); err != nil {
				return err
			}
			_, err := borrow(all[len(all)-1], l.place, l.slot)
			return err
		},
		"all": func(l *Loan, all []*tracee.Tracee) (err error) {
			for _, th := range all[1:] {
				if err := checkAnswers(l); err != nil {
					return err
				}
				if l, err = l.Pass(th); err != nil {
					return err
				}
			}
			return errors.Join(checkAnswers(l), started(l))
		},
		"all, and given back": func(l *Loan, all []*tracee.Tracee) (err error) {
			for _, th := range all[1:] {
				if l, err = l.Pass(th); err != nil {
					return err
				}
				if err := checkAnswers(l); err != nil {
					return err
				}
			}
			return l.Return()
		},
	} {
		t.Run(name, func(t *testing.T) {
			x, rng := startQuizzed(t), testkit.Random(t)
			var before proc.Status
			testkit.Soon(t, "it to block no signals, as it does while it makes threads", func() (is bool) {
				var err error
				before, err = proc.ReadStatus(x.pid)
				return err != nil || before.SigBlk == 0
			})
			n := 0
			for range 25 {
				if !x.runs() {
					break
				}
				dies(t, x, func() error { return begin(x, do) })
				n++
				time.Sleep(time.Duration(rng.IntN(20_000)) * time.Microsecond)
			}
			if !x.runs() {
				t.Errorf("it ended too early to be looked at, after %d times", n)
			} else {
				checkHome(t, x, before)
			}
			x.judge(t)
		})
	}
}

// checkHome checks that a loan has left nothing behind, once its threads have had time to
// come home.
func checkHome(t *testing.T, x *quizzed, before proc.Status) {
	t.Helper()
	var what error
	for range 500 {
		if what = left(x, before); what == nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Error(what)
}

func left(x *quizzed, before proc.Status) error {
	status, err := proc.ReadStatus(x.pid)
	if err != nil {
		return err
	}
	maps, err := proc.ReadMaps(x.pid)
	if err != nil {
		return err
	}
	if status.SigBlk != before.SigBlk || status.TracerPid != 0 {
		return fmt.Errorf("it blocks %#x, and blocked %#x before; its tracer is %d", status.SigBlk, before.SigBlk, status.TracerPid)
	}
	if i := slices.IndexFunc(maps, func(m proc.Mapping) bool { return m.Len() == scratchBytes && m.Path == "" && m.Start < 1<<32 }); i >= 0 {
		return fmt.Errorf("memory is left at %x", maps[i].Start)
	}
	return nil
}

// TestAskSignals sends a quizzed the signals that matter while it answers: it answers all
// queries, and the stop signals stop it.
func TestAskSignals(t *testing.T) {
	x := startQuizzed(t)
	stop, over := make(chan struct{}), make(chan struct{})
	send := func() {
		defer close(over)
		for {
			select {
			case <-stop:
				return
			default:
				for _, sig := range []unix.Signal{unix.SIGSTOP, unix.SIGCONT, unix.SIGURG, unix.SIGWINCH} {
					_ = unix.Kill(x.pid, sig)
					_ = unix.Tgkill(x.pid, x.pid, sig)
				}
				time.Sleep(20 * time.Microsecond)
			}
		}
	}
	dies(t, x, func() error {
		_, all, place, err := x.hold()
		if err != nil {
			return err
		}
		go send()
		asked := 0
		for begin := time.Now(); time.Since(begin) < time.Second; {
			l, err := Borrow(all[0], place)
			if err != nil {
				return err
			}
			for _, th := range all[1:] {
				if err = checkAnswers(l); err != nil {
					return err
				}
				if l, err = l.Pass(th); err != nil {
					return err
				}
				asked++
			}
			if err := l.Return(); err != nil {
				return err
			}
		}
		close(stop)
		<-over
		t.Logf("asked %d times", asked)
		// One more, and nobody continues it.
		l, err := Borrow(all[0], place)
		if err != nil {
			return err
		}
		return errors.Join(unix.Kill(x.pid, unix.SIGSTOP), checkAnswers(l), l.Return())
	})
	stat, err := proc.ReadStat(x.pid)
	for i := 0; i < 1000 && err == nil && stat.State != 'T'; i++ {
		time.Sleep(time.Millisecond)
		stat, err = proc.ReadStat(x.pid)
	}
	if err != nil || stat.State != 'T' {
		t.Errorf("it is not stopped but %c, %v", stat.State, err)
	}
	_ = unix.Kill(x.pid, unix.SIGCONT)
	x.judge(t)
}
