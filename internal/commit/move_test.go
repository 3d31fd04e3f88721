package commit

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/hold"
	"ckpt/internal/move"
	"ckpt/internal/proc"
	"ckpt/internal/testkit"
	"ckpt/stream"
	"ckpt/stream/record"
)

// The test binary, run with this, is the other side of a move, which says what it is told to.
const otherEnv = "CKPT_TEST_OTHER"

// other reads a stream, and then says what the words of script are: one that begins with
// a question mark is waited for.
func other(script string) int {
	r := stream.NewReader(os.Stdin)
	check := ""
	for {
		rec, err := r.Next()
		if err != nil {
			return 9
		}
		var h record.Header
		if rec.Type == record.TypeHeader && rec.Decode(&h) == nil {
			check = h.Checkpoint
		}
		if rec.Type == record.TypeEnd {
			break
		}
	}
	line, id := move.NewLine(os.Stdin, os.Stdout), move.NewID()
	for _, word := range strings.Fields(script) {
		m := move.Message{Verb: move.Verb(word), ID: id}
		switch word {
		case "die":
			return 7
		case "wait":
			_, _ = io.Copy(io.Discard, os.Stdin)
			return 0
		case "garbage":
			_, _ = os.Stdout.WriteString(move.Prefix + "../../x\n")
			continue
		case "prepared":
			m.Checkpoint = check
		case "both":
			m = move.Message{Verb: move.Prepared, ID: id, Checkpoint: check}
			_, _ = os.Stdout.WriteString(m.String() + move.Message{Verb: move.Running, ID: id}.String())
			continue
		case "another":
			m = move.Message{Verb: move.Prepared, ID: id, Checkpoint: move.NewID()}
		case "theirs":
			m = move.Message{Verb: move.Running, ID: move.NewID()}
		}
		if ask, ok := strings.CutPrefix(word, "?"); ok {
			if got, err := line.Hear(context.Background(), time.Minute); err != nil || got.Verb != move.Verb(ask) {
				return 8
			}
		} else if line.Say(context.Background(), m) != nil {
			return 6
		}
	}
	return 0
}

// collector is as much of ckpt-collect as a move sees.
type collector struct {
	hold   *hold.Hold
	source *move.Source
	target *exec.Cmd
	died   bool // right after it has stopped the target
	end    chan string
}

var errDied = errors.New("ckpt-collect was killed")

func (c *collector) stop(id string) error {
	stat, err := proc.ReadStat(c.target.Process.Pid)
	if err != nil {
		return err
	}
	if c.source, err = move.Begin(id, c.hold.Ref().Checkpoint, []move.Proc{{PID: c.target.Process.Pid, Start: stat.StartTime}}); err != nil {
		return err
	}
	err = c.target.Process.Signal(unix.SIGSTOP)
	if _, aerr := c.source.Advance(move.Stopped, move.Held); aerr != nil {
		return aerr
	}
	if c.died {
		return errors.Join(errDied, c.source.Close(), c.hold.Close())
	}
	return err
}

// run is the wait for the holders, and what is done then.
func (c *collector) run() {
	_, err := c.hold.Wait(context.Background(), hold.WaitOptions{NeedCommit: true, FirstTimeout: time.Minute, Stop: c.stop})
	switch {
	case errors.Is(err, errDied):
		c.end <- "died"
		return
	case err != nil:
		c.end <- err.Error()
		return
	case c.source == nil:
		c.end <- "not stopped"
		return
	}
	switch was, err := c.source.Advance(move.Stays, move.Held, move.Stopped); {
	case err != nil:
		c.end <- err.Error()
	case was == move.Sent:
		_ = c.source.Close()
		c.end <- "undecided"
	case was == move.Moved:
		_ = errors.Join(c.target.Process.Kill(), c.source.Remove())
		c.end <- "killed"
	default:
		_ = errors.Join(c.target.Process.Signal(unix.SIGCONT), c.source.Remove())
		c.end <- "goes on"
	}
}

// TestMove: the other side answers, is silent, lies or dies at each step; so does ckpt-collect.
func TestMove(t *testing.T) {
	const z, s, stopped = 'Z', 'S', 'T'
	for _, c := range []struct {
		name, script string
		died         bool
		err          error
		collector    string
		becomes      byte
	}{
		{"it runs there", "?open prepared ?go running", false, nil, "killed", z},
		{"it runs there, and ckpt-collect is dead", "?open prepared ?go running", true, nil, "died", z},
		{"no", "?open prepared ?go not", false, ErrStays, "goes on", s},
		{"no, and ckpt-collect is dead", "?open prepared ?go not", true, ErrStays, "died", s},
		{"it dies before it is prepared", "?open die", false, ErrStays, "not stopped", s},
		{"it is silent before it is prepared", "?open wait", false, ErrStays, "not stopped", s},
		{"it prepares another one", "?open another wait", false, ErrStays, "not stopped", s},
		{"it says no word before", "?open garbage wait", false, ErrStays, "not stopped", s},
		{"it runs before go", "?open running wait", false, ErrStays, "not stopped", s},
		{"it runs there before go, and it is prepared", "?open both wait", false, ErrStays, "goes on", s},
		{"it dies behind go", "?open prepared ?go die", false, move.ErrUndecided, "undecided", stopped},
		{"it dies behind go, and ckpt-collect is dead", "?open prepared ?go die", true, move.ErrUndecided, "died", stopped},
		{"it is silent behind go", "?open prepared ?go wait", false, move.ErrUndecided, "undecided", stopped},
		{"it says no word behind go", "?open prepared ?go garbage wait", false, move.ErrUndecided, "undecided", stopped},
		{"another one runs", "?open prepared ?go theirs wait", false, move.ErrUndecided, "undecided", stopped},
		{"it does not know", "?open prepared ?go unknown wait", false, move.ErrUndecided, "undecided", stopped},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			target := exec.Command("sleep", "1000")
			testkit.Check(t, target.Start())
			defer func() { _ = target.Process.Kill(); _ = target.Wait() }()
			col := &collector{hold: newHold(t), target: target, died: c.died, end: make(chan string, 1)}
			go col.run()
			exe, err := os.Executable()
			testkit.Check(t, err)
			program, err := Find([]string{"env", otherEnv + "=" + c.script, exe}, nil)
			testkit.Check(t, err)
			limit := time.Minute
			if strings.HasSuffix(c.script, "wait") {
				limit = 5 * time.Second // it is waited for in vain
			}
			none := func(string, ...any) {}
			err = Run(context.Background(), Options{Program: program, Move: limit, Step: none, Note: none}, piped(t, text(t, record.StageShared, col.hold, whole)))
			if !errors.Is(err, c.err) {
				t.Errorf("%v, not %v", err, c.err)
			}
			if got := <-col.end; got != c.collector {
				t.Errorf("ckpt-collect: %s, not %s", got, c.collector)
			}
			becomes(t, target.Process.Pid, c.becomes)
			if c.err != move.ErrUndecided {
				return
			}
			settled(t, col, target)
		})
	}
}

// becomes waits for the state of a process.
func becomes(t *testing.T, pid int, want byte) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		stat, err := proc.ReadStat(pid)
		testkit.Check(t, err)
		if stat.State == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("it is in state %c, not %c", stat.State, want)
		}
	}
}

// resolvedBy asks a shell what became of an undecided move.
func resolvedBy(t *testing.T, id, script string, limit time.Duration, want error) {
	t.Helper()
	none := func(string, ...any) {}
	err := Resolve(context.Background(), ResolveOptions{ID: id, Args: []string{"sh", "-c", script}, Timeout: limit, Step: none})
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, not %v", script, err, want)
	}
}

// settled asks a side that does not know, some that do not answer or lie, and one that answers.
func settled(t *testing.T, col *collector, target *exec.Cmd) {
	t.Helper()
	id := col.source.ID
	const ask = "read a b id; [ $b = ask ] || exit 1; "
	for _, script := range []string{"exit 1", ask + "exec sleep 60", ask + "echo ckpt-move unknown $id", ask + "echo ckpt-move running " + move.NewID(), ask + "echo ckpt-move running"} {
		resolvedBy(t, id, script, time.Second, move.ErrUndecided)
		becomes(t, target.Process.Pid, 'T')
	}
	if col.died {
		resolvedBy(t, id, ask+"echo ckpt-move running $id", time.Minute, nil)
		becomes(t, target.Process.Pid, 'Z')
	} else {
		resolvedBy(t, id, ask+"echo ckpt-move not $id", time.Minute, ErrStays)
		becomes(t, target.Process.Pid, 'S')
	}
	resolvedBy(t, id, "exit 1", time.Minute, move.ErrNone)
}

// TestResolveSlowCommand: the warden does what was answered, and removes the record, long before the command ends.
func TestResolveSlowCommand(t *testing.T) {
	for verb, c := range map[string]struct {
		state move.State
		err   error
	}{"running": {move.Moved, nil}, "not": {move.Stays, ErrStays}} {
		t.Run(verb, func(t *testing.T) {
			src, err := move.Begin(move.NewID(), "", nil)
			testkit.Check(t, err)
			_, err = src.Advance(move.Sent, move.Held)
			testkit.Check(t, err)
			end := make(chan error)
			go func() {
				for {
					if state, err := src.State(); err != nil || state == c.state {
						end <- errors.Join(err, src.Remove())
						return
					}
					time.Sleep(time.Millisecond)
				}
			}()
			resolvedBy(t, src.ID, "read a b id; echo ckpt-move "+verb+" $id; sleep 0.5", time.Minute, c.err)
			testkit.Check(t, <-end)
		})
	}
}
