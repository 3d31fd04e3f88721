package move

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

// Those of a record there.
const (
	Waiting   State = "prepared"
	Going     State = "going"
	Releasing State = "releasing"
	Ran       State = "ran"
	Never     State = "not"
)

const (
	// keptFor is how long a record can be asked for.
	keptFor = 7 * 24 * time.Hour
	// maxKept is how many there may be; beyond that the oldest go.
	maxKept = 256
	// goTime is how long a prepared tree waits for go.
	goTime = 2 * time.Minute
	// answerTime is how long somebody who asks waits for a decision that is under way.
	answerTime = 20 * time.Second
	// dying is how long a process that was killed may still be seen.
	dying = 2 * time.Second
)

// Target is the record there.
type Target struct {
	targetFacts
	note *note
	line *Line
}

type targetFacts struct {
	ID, Checkpoint, Boot string
	PIDNS                string // of the ids
	Root                 Proc
}

func targetName(id string) string { return "there-" + id }

// NewTarget is for a tree that is being built.
func NewTarget(line *Line) *Target { return &Target{line: line} }

// CheckPlace makes sure that a record can be made.
func CheckPlace() error {
	d, err := openDir()
	if err != nil {
		return err
	}
	return d.Close()
}

// Prepare says that all is built, pid being the first process, and waits until it may run.
func (t *Target) Prepare(ctx context.Context, checkpoint string, pid int) error {
	m, err := t.line.Hear(ctx, goTime)
	if err == nil && (m.Verb != Open || m.ID != checkpoint) {
		err = ErrLine
	}
	if err != nil {
		return err
	}
	if err := t.begin(checkpoint, pid); err != nil {
		return err
	}
	if err := t.line.Say(ctx, Message{Prepared, t.ID, checkpoint}); err != nil {
		return err
	}
	t.line.Idle = func() error {
		s, err := t.note.state()
		if err == nil && s != Waiting {
			err = errRevoked
		}
		return err
	}
	m, err = t.line.Hear(ctx, goTime)
	if err == nil && (m.Verb != Go || m.ID != t.ID) {
		err = ErrLine
	}
	if err != nil {
		return err
	}
	was, err := t.note.advance(Going, Waiting)
	if err == nil && was != Waiting {
		err = errRevoked
	}
	return err
}

var errRevoked = errors.New("the other side has asked for it, before it said go, and goes on itself")

// begin makes the record.
func (t *Target) begin(checkpoint string, pid int) error {
	boot, err := proc.BootID()
	if err != nil {
		return err
	}
	stat, err := proc.ReadStat(pid)
	if err != nil {
		return err
	}
	ns, err := ownNS()
	if err != nil {
		return err
	}
	if err := sweep(); err != nil {
		return err
	}
	t.targetFacts = targetFacts{ID: NewID(), Checkpoint: checkpoint, Boot: boot, PIDNS: ns, Root: Proc{PID: pid, Start: stat.StartTime}}
	t.note, err = create(targetName(t.ID), Waiting, &t.targetFacts)
	return err
}

func ownNS() (string, error) { return os.Readlink("/proc/self/ns/pid") }

// Release is called when the first task is about to be loosened, and when all are taken back after that.
func (t *Target) Release() error {
	_, err := t.note.advance(Releasing, Going, Ran)
	return err
}

// Ran is called when all tasks will run, whatever becomes of this process. An error changes nothing about that.
func (t *Target) Ran() { _ = t.note.write(Ran) }

// Yes says that it runs.
func (t *Target) Yes() { t.answer(Running) }

// No says that nothing of it runs or ever will, if that was promised or is waited for.
func (t *Target) No() {
	if t.note == nil {
		return // the end of the line tells
	}
	if was, err := t.note.advance(Never, Waiting, Going, Releasing); err == nil && was != Ran {
		t.answer(Not)
	}
}

// answer says the last word. If nobody hears it, the record has it.
func (t *Target) answer(verb Verb) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = t.line.Say(ctx, Message{Verb: verb, ID: t.ID})
}

// Close leaves the record to those who ask.
func (t *Target) Close() error {
	if t.note == nil {
		return nil
	}
	return t.note.close()
}

func (s State) verb() Verb {
	switch s {
	case Ran:
		return Running
	case Never:
		return Not
	}
	return Unknown
}

// Reply answers somebody who asks.
func Reply(ctx context.Context, line *Line) error {
	m, err := line.Hear(ctx, time.Second)
	if err == nil && m.Verb != Ask {
		err = ErrLine
	}
	if err != nil {
		return err
	}
	s, err := decided(ctx, m.ID)
	if err != nil {
		return err
	}
	return line.Say(ctx, Message{Verb: s.verb(), ID: m.ID})
}

// decided returns Ran, Never, or "" if nobody knows, and has it stay so.
func decided(ctx context.Context, id string) (State, error) {
	t := &Target{}
	var err error
	if t.note, err = find(targetName(id), &t.targetFacts); errors.Is(err, ErrNone) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	defer t.note.close()
	boot, err := proc.BootID()
	if err != nil || boot != t.Boot {
		return "", err
	}
	err = until(ctx, answerTime, func() (bool, error) {
		owned := t.note.owned() // before the look at the state
		s, err := t.note.advance(Never, Waiting)
		return !owned || s == Waiting || s == Ran || s == Never, err
	})
	if errors.Is(err, ErrTimeout) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	s, err := t.note.state()
	if err != nil {
		return "", err
	}
	return t.left(s)
}

// left returns what is so without its ckpt-apply.
func (t *Target) left(s State) (State, error) {
	switch s {
	case Ran, Never:
		return s, nil
	case "", Going:
		_, err := t.note.advance(Never, s)
		return Never, err
	}
	if ns, err := ownNS(); err != nil || ns != t.PIDNS {
		return "", err
	}
	if !t.Root.lives() {
		return "", nil
	}
	_, err := t.note.advance(Ran, s)
	return Ran, err
}

// lives reports whether a process is there, and not about to end because it was killed.
func (p Proc) lives() bool {
	const kill = 1 << (unix.SIGKILL - 1)
	for end := time.Now().Add(dying); ; time.Sleep(10 * time.Millisecond) {
		if !p.there() {
			return false
		}
		status, err := proc.ReadStatus(p.PID)
		if err != nil {
			return false
		}
		if status.TracerPid == 0 && uint64(status.SigPnd)&kill == 0 && uint64(status.ShdPnd)&kill == 0 {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}

// sweep removes old records of trees that were handed over to here.
func sweep() error {
	dir, err := openDir()
	if err != nil {
		return err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return err
	}
	var kept []os.FileInfo
	for _, e := range entries {
		if info, err := e.Info(); err == nil && strings.HasPrefix(e.Name(), targetName("")) {
			kept = append(kept, info)
		}
	}
	slices.SortFunc(kept, func(a, b os.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	for i, info := range kept {
		if i < maxKept-1 && time.Since(info.ModTime()) < keptFor {
			continue
		}
		n, err := find(info.Name())
		if err != nil {
			continue // another one has removed it
		}
		if !n.owned() {
			err = n.remove()
		}
		if err := errors.Join(err, n.close()); err != nil {
			return err
		}
	}
	return nil
}
