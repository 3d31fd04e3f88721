package move

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/testkit"
)

const checkpoint = "00112233445566778899aabbccddeeff"

// pair is both ends of a line.
func pair(t *testing.T) (here, there *Line, hangUp func()) {
	t.Helper()
	r1, w1, err := os.Pipe()
	testkit.Check(t, err)
	r2, w2, err := os.Pipe()
	testkit.Check(t, err)
	hangUp = func() { r2.Close(); w1.Close() }
	t.Cleanup(func() { hangUp(); r1.Close(); w2.Close() })
	return NewLine(r2, w1), NewLine(r1, w2), hangUp
}

func hear(t *testing.T, l *Line, want Verb) Message {
	t.Helper()
	m, err := l.Hear(context.Background(), time.Minute)
	if err != nil || m.Verb != want {
		t.Fatalf("%q, %v, not %q", m, err, want)
	}
	return m
}

func say(t *testing.T, l *Line, m Message) {
	t.Helper()
	testkit.Check(t, l.Say(context.Background(), m))
}

// TestHear: what comes back is anybody's bytes.
func TestHear(t *testing.T) {
	id := NewID()
	good := Message{Verb: Running, ID: id}
	noise := strings.Repeat("Welcome to this system\n", 100)
	for name, c := range map[string]struct {
		said string
		err  error // nil: good is heard
	}{
		"plain":                {good.String(), nil},
		"behind a greeting":    {noise + good.String(), nil},
		"behind one long line": {strings.Repeat("x", 5000) + "\n" + good.String(), nil},
		"within a line":        {"x" + good.String(), ErrBroken},
		"cut":                  {strings.TrimSuffix(good.String(), "\n"), ErrBroken},
		"nothing":              {"", ErrBroken},
		"much":                 {strings.Repeat("x", maxNoise+1000), ErrLine},
		"many lines":           {strings.Repeat("x\n", maxNoise), ErrLine},
		"long":                 {Prefix + strings.Repeat("x", maxLineBytes+1), ErrLine},
		"another verb":         {Prefix + "fly " + id + "\n", ErrLine},
		"no id":                {Prefix + "running\n", ErrLine},
		"a short id":           {Prefix + "running " + id[2:] + "\n", ErrLine},
		"a path for an id":     {Prefix + "running ../../../../../../etc/passwd__\n", ErrLine},
		"capitals":             {Prefix + "running " + strings.ToUpper("ab"+id[2:]) + "\n", ErrLine},
		"one word more":        {Prefix + "running " + id + " " + id + "\n", ErrLine},
		"zeros":                {strings.Repeat("\x00", 100) + "\n" + good.String(), nil},
	} {
		t.Run(name, func(t *testing.T) {
			r, w, err := os.Pipe()
			testkit.Check(t, err)
			defer r.Close()
			go func() { _, _ = w.WriteString(c.said); w.Close() }()
			got, err := NewLine(r, w).Hear(context.Background(), time.Minute)
			if !errors.Is(err, c.err) || err == nil && got != good {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// TestHearEnds: the wait ends in time, and with the context.
func TestHearEnds(t *testing.T) {
	here, _, _ := pair(t)
	if _, err := here.Hear(context.Background(), time.Millisecond); err != ErrTimeout {
		t.Error(err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("why")
	cancel(why)
	if _, err := here.Hear(ctx, time.Minute); err != why {
		t.Error(err)
	}
}

// child is a process, to be moved.
func child(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	testkit.Check(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

// reply is what somebody is told who asks.
func reply(t *testing.T, id string) Verb {
	t.Helper()
	here, there, _ := pair(t)
	say(t, here, Message{Verb: Ask, ID: id})
	testkit.Check(t, Reply(context.Background(), there))
	m, err := here.Hear(context.Background(), time.Minute)
	testkit.Check(t, err)
	if m.ID != id {
		t.Errorf("the answer is for %s", m.ID)
	}
	return m.Verb
}

// TestTarget: the other side is left at each step, in each way, and asked after that. What it said
// before and what it says then is the same.
func TestTarget(t *testing.T) {
	type step struct {
		name string
		// do goes one step on, on both sides.
		do func(t *testing.T, here, there *Line, target *Target, prepared chan error)
		// want is the answer when ckpt-apply has died behind this step.
		want Verb
	}
	steps := []step{
		{"prepared", func(t *testing.T, here, _ *Line, target *Target, _ chan error) {
			say(t, here, Message{Verb: Open, ID: checkpoint})
			if m := hear(t, here, Prepared); m.Checkpoint != checkpoint || m.ID != target.ID {
				t.Errorf("%q", m)
			}
		}, Not},
		{"going", func(t *testing.T, here, _ *Line, target *Target, prepared chan error) {
			say(t, here, Message{Verb: Go, ID: target.ID})
			testkit.Check(t, <-prepared)
		}, Not},
		{"releasing", func(t *testing.T, _, _ *Line, target *Target, _ chan error) { testkit.Check(t, target.Release()) }, Running},
		{"ran", func(t *testing.T, here, _ *Line, target *Target, _ chan error) {
			target.Ran()
			target.Yes()
			if m := hear(t, here, Running); m.ID != target.ID {
				t.Errorf("%q", m)
			}
		}, Running},
	}
	for last, left := range steps {
		for _, alive := range []bool{true, false} {
			name := left.name + "/died"
			if !alive {
				name = left.name + "/died with the tree"
			}
			t.Run(name, func(t *testing.T) {
				tree := child(t)
				here, there, _ := pair(t)
				target, prepared := NewTarget(there), make(chan error, 1)
				go func() { prepared <- target.Prepare(context.Background(), checkpoint, tree.Process.Pid) }()
				for _, s := range steps[:last+1] {
					s.do(t, here, there, target, prepared)
				}
				id := target.ID
				if last == 0 { // the wait for go ends with the record's owner: without one, nobody is there
					say(t, here, Message{Verb: Not, ID: id})
					<-prepared
				}
				testkit.Check(t, target.Close())
				want := left.want
				if !alive {
					_ = tree.Process.Kill()
					_ = tree.Wait()
					if left.name == "releasing" {
						want = Unknown
					}
				}
				for range 2 {
					if got := reply(t, id); got != want {
						t.Errorf("the answer is %q, not %q", got, want)
					}
				}
			})
		}
	}
	if got := reply(t, NewID()); got != Unknown {
		t.Errorf("what nobody knows is %q", got)
	}
}

// TestTargetRevoked: who asks before go has come gets no, and the go that comes after that, too.
func TestTargetRevoked(t *testing.T) {
	for name, late := range map[string]bool{"go comes late": true, "go never comes": false} {
		t.Run(name, func(t *testing.T) {
			here, there, _ := pair(t)
			target, prepared := NewTarget(there), make(chan error, 1)
			go func() { prepared <- target.Prepare(context.Background(), checkpoint, child(t).Process.Pid) }()
			say(t, here, Message{Verb: Open, ID: checkpoint})
			id := hear(t, here, Prepared).ID
			if got := reply(t, id); got != Not {
				t.Errorf("the answer is %q", got)
			}
			if late {
				_ = here.Say(context.Background(), Message{Verb: Go, ID: id})
			}
			if err := <-prepared; !errors.Is(err, errRevoked) {
				t.Errorf("it may run: %v", err)
			}
			target.No()
			testkit.Check(t, target.Close())
		})
	}
}

// TestTargetRefuses: whatever comes in place of go is no go, and the answer is no ever after.
func TestTargetRefuses(t *testing.T) {
	for name, c := range map[string]func(here *Line, id string, hangUp func()){
		"the line breaks": func(_ *Line, _ string, hangUp func()) { hangUp() },
		"another's go": func(here *Line, _ string, _ func()) {
			_ = here.Say(context.Background(), Message{Verb: Go, ID: NewID()})
		},
		"another word": func(here *Line, id string, _ func()) {
			_ = here.Say(context.Background(), Message{Verb: Running, ID: id})
		},
		"no word": func(here *Line, _ string, hangUp func()) { _, _ = unix.Write(here.out, []byte(Prefix+"go")); hangUp() },
		"what is too long": func(here *Line, _ string, _ func()) {
			_, _ = unix.Write(here.out, []byte(Prefix+strings.Repeat("x", 300)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			here, there, hangUp := pair(t)
			target, prepared := NewTarget(there), make(chan error, 1)
			go func() { prepared <- target.Prepare(context.Background(), checkpoint, child(t).Process.Pid) }()
			say(t, here, Message{Verb: Open, ID: checkpoint})
			id := hear(t, here, Prepared).ID
			c(here, id, hangUp)
			if err := <-prepared; err == nil {
				t.Error("it may run")
			}
			target.No()
			testkit.Check(t, target.Close())
			if got := reply(t, id); got != Not {
				t.Errorf("the answer is %q", got)
			}
		})
	}
	here, there, _ := pair(t)
	say(t, here, Message{Verb: Open, ID: NewID()})
	if err := NewTarget(there).Prepare(context.Background(), checkpoint, os.Getpid()); err != ErrLine {
		t.Errorf("the stream of another checkpoint: %v", err)
	}
}

// TestSource: go is said only for a target that nobody lets go on, and the other way round.
func TestSource(t *testing.T) {
	for _, c := range []struct {
		name  string
		do    func(s *Source) error // behind Stopped
		sends bool
	}{
		{"sent", func(*Source) error { return nil }, true},
		{"refused before", func(s *Source) error { _, err := s.Advance(Stays, Held, Stopped); return err }, false},
		{"settled before", func(s *Source) error { return s.note.remove() }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := NewID()
			s, err := Begin(id, checkpoint, nil)
			testkit.Check(t, err)
			other, err := Find(id)
			testkit.Check(t, err)
			if err := other.Send([]string{"ssh"}); err == nil {
				t.Fatal("go is said before it is stopped")
			}
			_, err = s.Advance(Stopped, Held)
			testkit.Check(t, err)
			testkit.Check(t, c.do(s))
			if err := other.Send([]string{"ssh", "host"}); (err == nil) != c.sends {
				t.Errorf("go is said: %v", err)
			}
			was, err := s.Advance(Stays, Held, Stopped)
			if c.sends && (err != nil || was != Sent) {
				t.Errorf("it goes on in state %q, %v", was, err)
			}
			testkit.Check(t, errors.Join(other.Close(), s.Remove()))
		})
	}
}

// TestSettle: what was decided is done by whoever is left, to the very processes that were meant.
func TestSettle(t *testing.T) {
	for state, want := range map[State]byte{Moved: 'Z', Stays: 'S'} {
		t.Run(string(state), func(t *testing.T) {
			cmd, other, before := child(t), child(t), child(t)
			named := func(cmd *exec.Cmd) Proc {
				stat, err := proc.ReadStat(cmd.Process.Pid)
				testkit.Check(t, err)
				testkit.Check(t, unix.Kill(cmd.Process.Pid, unix.SIGSTOP))
				return Proc{PID: cmd.Process.Pid, Start: stat.StartTime}
			}
			wrong, stopped := named(other), named(before)
			wrong.Start++
			stopped.Stopped = true
			procs := []Proc{named(cmd), wrong}
			if state == Stays {
				procs = append(procs, stopped)
			}
			s, err := Begin(NewID(), checkpoint, procs)
			testkit.Check(t, err)
			testkit.Check(t, s.note.write(state))
			testkit.Check(t, s.Close()) // ckpt-collect has died
			left, err := Find(s.ID)
			testkit.Check(t, err)
			testkit.Check(t, left.Settle(context.Background(), time.Minute))
			if _, err := Find(s.ID); !errors.Is(err, ErrNone) {
				t.Errorf("the record is still there: %v", err)
			}
			becomes(t, cmd, want)
			becomes(t, other, 'T')
			becomes(t, before, 'T')
		})
	}
}

// becomes waits for the state of a process.
func becomes(t *testing.T, cmd *exec.Cmd, want byte) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		stat, err := proc.ReadStat(cmd.Process.Pid)
		testkit.Check(t, err)
		if stat.State == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("it is in state %c, not %c", stat.State, want)
		}
	}
}

// TestSettleWaits: as long as ckpt-collect lives, the rest is its own affair.
func TestSettleWaits(t *testing.T) {
	s, err := Begin(NewID(), checkpoint, nil)
	testkit.Check(t, err)
	testkit.Check(t, s.note.write(Stays))
	other, err := Find(s.ID)
	testkit.Check(t, err)
	if err := other.Settle(context.Background(), 50*time.Millisecond); !errors.Is(err, errKept) {
		t.Errorf("it did not wait: %v", err)
	}
	if _, err := s.State(); err != nil {
		t.Errorf("the record: %v", err)
	}
	testkit.Check(t, s.Remove())
}

// TestPlace: the folder is one that only its user may enter, and no link of another.
func TestPlace(t *testing.T) {
	id := NewID()
	s, err := Begin(id, checkpoint, nil)
	testkit.Check(t, err)
	defer func() { testkit.Check(t, s.Remove()) }()
	path := filepath.Join(rootDir, sourceName(id))
	if st, err := os.Stat(path); err != nil || st.Mode() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	testkit.Check(t, os.Chmod(rootDir, 0o711))
	if _, err := Find(id); err == nil {
		t.Error("others may enter the folder, and it was taken")
	}
	testkit.Check(t, os.Chmod(rootDir, 0o700))
	link := NewID()
	testkit.Check(t, os.Symlink(path, filepath.Join(rootDir, sourceName(link))))
	defer os.Remove(filepath.Join(rootDir, sourceName(link)))
	if _, err := Find(link); err == nil {
		t.Error("a link was followed")
	}
}

// TestSweep: records don't pile up.
func TestSweep(t *testing.T) {
	make := func(age time.Duration) string {
		id := NewID()
		n, err := create(targetName(id), Ran, &targetFacts{ID: id})
		testkit.Check(t, err)
		testkit.Check(t, n.close())
		when := time.Now().Add(-age)
		testkit.Check(t, os.Chtimes(filepath.Join(rootDir, targetName(id)), when, when))
		return id
	}
	old := make(keptFor + time.Hour)
	for range maxKept + 10 {
		make(time.Hour)
	}
	young := make(0)
	testkit.Check(t, sweep())
	left, _ := filepath.Glob(filepath.Join(rootDir, targetName("*")))
	if len(left) != maxKept-1 {
		t.Errorf("%d are left", len(left))
	}
	for id, want := range map[string]bool{old: false, young: true} {
		n, err := find(targetName(id))
		if (err == nil) != want {
			t.Errorf("%v", err)
		}
		if err == nil {
			testkit.Check(t, n.close())
		}
	}
	for _, f := range left {
		os.Remove(f)
	}
}

// TestSweepHere: the record of a tree that has ended by whatever means does not stay, but that of one that is there
// does.
func TestSweepHere(t *testing.T) {
	begin := func(cmd *exec.Cmd) *Source {
		stat, err := proc.ReadStat(cmd.Process.Pid)
		testkit.Check(t, err)
		s, err := Begin(NewID(), checkpoint, []Proc{{PID: cmd.Process.Pid, Start: stat.StartTime}})
		testkit.Check(t, err)
		_, err = s.Advance(Sent, Held)
		testkit.Check(t, err)
		return s
	}
	ended, stays, owned := child(t), child(t), child(t)
	of := map[*exec.Cmd]*Source{ended: begin(ended), stays: begin(stays), owned: begin(owned)}
	for _, cmd := range []*exec.Cmd{ended, owned} {
		testkit.Check(t, cmd.Process.Kill())
		becomes(t, cmd, 'Z')
	}
	testkit.Check(t, of[ended].Close())
	testkit.Check(t, of[stays].Close())
	last := begin(stays)
	for cmd, want := range map[*exec.Cmd]bool{ended: false, stays: true, owned: true} {
		s, err := Find(of[cmd].ID)
		if (err == nil) != want {
			t.Errorf("%v, %v", want, err)
		}
		if err == nil {
			testkit.Check(t, s.Remove())
		}
	}
	testkit.Check(t, errors.Join(last.Remove(), of[owned].Close()))
}

// TestElsewhere: the ids in a record of another pid namespace are not taken for ids of this one.
func TestElsewhere(t *testing.T) {
	id := NewID()
	boot, err := proc.BootID()
	testkit.Check(t, err)
	n, err := create(sourceName(id), Sent, &sourceFacts{ID: id, Boot: boot, PIDNS: "pid:[1]", Procs: []Proc{{PID: 1 << 22}}})
	testkit.Check(t, err)
	defer func() { testkit.Check(t, errors.Join(n.remove(), n.close())) }()
	var elsewhere *ElsewhereError
	if _, err := Find(id); !errors.As(err, &elsewhere) {
		t.Errorf("%v", err)
	}
	testkit.Check(t, sweepHere())
	if _, err := n.state(); err != nil {
		t.Errorf("the record: %v", err)
	}
}

// TestBeginTwice: without a record there is none to close.
func TestBeginTwice(t *testing.T) {
	s, err := Begin(NewID(), checkpoint, nil)
	testkit.Check(t, err)
	if again, err := Begin(s.ID, checkpoint, nil); err == nil || again != nil {
		t.Errorf("%v, %v", again, err)
	}
	testkit.Check(t, s.Remove())
}

// TestThere: a process whose first thread has ended is there as long as another one is.
func TestThere(t *testing.T) {
	cmd := exec.Command("python3", "-c", "import ctypes, threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()\nctypes.CDLL(None).syscall(60, 0)")
	testkit.Check(t, cmd.Start())
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	becomes(t, cmd, 'Z')
	stat, err := proc.ReadStat(cmd.Process.Pid)
	testkit.Check(t, err)
	p := Proc{PID: cmd.Process.Pid, Start: stat.StartTime}
	s := &Source{sourceFacts: sourceFacts{Procs: []Proc{p}}}
	if !p.there() || !p.lives() || s.Over(0) == nil {
		t.Error("it is taken for dead")
	}
	testkit.Check(t, cmd.Process.Kill())
	testkit.Check(t, s.Over(time.Minute))
	if p.there() || p.lives() {
		t.Error("it is taken for alive")
	}
}

func FuzzLine(f *testing.F) {
	f.Add("prepared 00112233445566778899aabbccddeeff 00112233445566778899aabbccddeeff")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parse(Prefix + text)
		if err != nil {
			return
		}
		if again := m.String(); again != Prefix+text+"\n" {
			t.Errorf("%q became %q", text, again)
		}
	})
}
