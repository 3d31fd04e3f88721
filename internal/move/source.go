package move

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/tracee"
)

// State is that of a record.
type State string

// Those of a record here.
const (
	Held    State = "held"
	Stopped State = "stopped"
	Sent    State = "sent"
	Moved   State = "moved"
	Stays   State = "stays"
)

// Proc is a process of the tree. One that was stopped before stays so.
type Proc struct {
	PID     int
	Start   uint64 // clock ticks, /proc/PID/stat field 22
	Stopped bool   `json:",omitempty"`
	// Loop is where its threads are parked, from before the state is Stopped on, and Threads
	// is what they have again when they go on.
	Loop    uint64          `json:",omitempty"`
	Threads []tracee.Parked `json:",omitempty"`
}

// Source is the record here.
type Source struct {
	sourceFacts
	Command []string // ckpt-commit adds it
	note    *note
}

// sourceFacts is what ckpt-collect knows.
type sourceFacts struct {
	ID, Checkpoint, Boot string
	PIDNS                string // of the ids
	Procs                []Proc // parents before their children
}

func sourceName(id string) string { return "here-" + id }

// Begin makes the record of a tree that is to be stopped for good.
func Begin(id, checkpoint string, procs []Proc) (*Source, error) {
	boot, err := proc.BootID()
	if err != nil {
		return nil, err
	}
	ns, err := ownNS()
	if err != nil {
		return nil, err
	}
	if err := sweepHere(); err != nil {
		return nil, err
	}
	s := &Source{sourceFacts: sourceFacts{ID: id, Checkpoint: checkpoint, Boot: boot, PIDNS: ns, Procs: procs}}
	if s.note, err = create(sourceName(id), Held, &s.sourceFacts); err != nil {
		return nil, err
	}
	return s, nil
}

// Find returns the record of a move, or ErrNone.
func Find(id string) (*Source, error) {
	s := &Source{}
	var err error
	if s.note, err = find(sourceName(id), &s.sourceFacts, &s.Command); err != nil {
		return nil, err
	}
	if err := s.current(); err != nil {
		return nil, errors.Join(err, s.note.close())
	}
	return s, nil
}

// current reports what is in the way of doing something about a record: it is of another
// boot, or its ids are those of another pid namespace.
func (s *Source) current() error {
	boot, err := proc.BootID()
	if err != nil || s.Boot == "" { // it is just being made
		return err
	}
	if boot != s.Boot {
		return errors.Join(ErrNone, s.note.remove())
	}
	if ns, err := ownNS(); err != nil || ns != s.PIDNS {
		return errors.Join(err, &ElsewhereError{ID: s.ID, PID: s.Root(), PIDNS: s.PIDNS})
	}
	return nil
}

// ElsewhereError: the ids in a record mean nothing in this pid namespace.
type ElsewhereError struct {
	ID    string
	PID   int
	PIDNS string
}

func (e *ElsewhereError) Error() string {
	return fmt.Sprintf("the target of the move %s is pid %d of another pid namespace (%s), and can be neither ended nor continued from this one", e.ID, e.PID, e.PIDNS)
}

func (e *ElsewhereError) Hint() string {
	return "enter that pid namespace with its /proc (nsenter -t PID --pid --mount), and there: ckpt-commit --resolve " + e.ID
}

// sweepHere removes the records of trees that have ended, by whatever means.
func sweepHere() error {
	dir, err := openDir()
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		id, ok := strings.CutPrefix(name, sourceName(""))
		if !ok {
			continue
		}
		s, err := Find(id)
		if err != nil {
			continue // it was removed, or is for others to judge
		}
		state, err := s.State()
		if over, _ := s.over(); over && err == nil && state != "" && !s.note.owned() {
			err = s.note.remove()
		}
		if err = errors.Join(err, s.Close()); err != nil && !errors.Is(err, ErrNone) {
			return err
		}
	}
	return nil
}

// AwaitStopped waits until the tree is stopped for good. gone tells that nobody will do that any more.
func AwaitStopped(ctx context.Context, id string, limit time.Duration, gone func() bool) (s *Source, err error) {
	err = until(ctx, limit, func() (bool, error) {
		left := gone() // before the look at the record
		s, err = Find(id)
		switch {
		case errors.Is(err, ErrNone) && !left:
			return false, nil
		case err != nil:
			return false, err
		}
		state, err := s.State()
		if err == nil && state == Stopped {
			return true, nil
		}
		err = errors.Join(err, s.Close())
		if err == nil && left {
			err = ErrNone
		}
		return false, err
	})
	return s, err
}

// State is where it stands.
func (s *Source) State() (State, error) { return s.note.state() }

// Advance changes the state, if it is one of from, and returns the one it had.
func (s *Source) Advance(to State, from ...State) (State, error) { return s.note.advance(to, from...) }

// Send notes that go is about to be said, and by which command to ask what became of it.
func (s *Source) Send(command []string) error {
	if err := s.note.append(command); err != nil {
		return err
	}
	was, err := s.Advance(Sent, Stopped)
	if err == nil && was != Stopped {
		err = ErrNone
	}
	return err
}

// File is the record's file. Whoever has it open keeps its lock.
func (s *Source) File() *os.File { return s.note.f }

// Close leaves the record as it is.
func (s *Source) Close() error { return s.note.close() }

// Remove removes it, when all is done.
func (s *Source) Remove() error { return errors.Join(s.note.remove(), s.note.close()) }

// Root is the first process.
func (s *Source) Root() int {
	if len(s.Procs) == 0 {
		return 0
	}
	return s.Procs[0].PID
}

// Settle does what was decided, Moved or Stays, and removes the record: ckpt-collect or its warden,
// as long as one of them lives, or else this process does it.
func (s *Source) Settle(ctx context.Context, limit time.Duration) error {
	collector := func() (bool, error) {
		_, err := s.State()
		if errors.Is(err, ErrNone) {
			return true, nil
		}
		return !s.note.owned(), err
	}
	state, err := s.State()
	if errors.Is(err, ErrNone) {
		return s.Close()
	}
	if err == nil {
		err = until(ctx, limit, collector)
	}
	if _, gone := s.State(); errors.Is(gone, ErrNone) {
		return s.Close()
	}
	switch {
	case state == Moved: // even if ckpt-collect is stuck
		if err = s.Signal(unix.SIGKILL); err == nil {
			err = s.Over(limit)
		}
	case err == nil && state == Stays:
		err = s.resume(limit)
	}
	if errors.Is(err, ErrTimeout) {
		err = errKept
	}
	if err != nil {
		return errors.Join(err, s.Close())
	}
	return s.Remove()
}

var errKept = errors.New("the process that keeps it stopped, ckpt-collect or ckpt-warden, does not let go of it")

// Signal sends a signal to all processes that are still those of the tree, but SIGSTOP and SIGCONT to those that
// were not stopped before; children first, for when
// a parent ends, the kernel continues children that are stopped, see credentials(7) on orphaned process groups.
func (s *Source) Signal(sig unix.Signal) error {
	var errs []error
	for _, p := range slices.Backward(s.Procs) {
		if sig != unix.SIGKILL && p.Stopped {
			continue
		}
		if err := p.signal(sig); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Over waits until all processes have ended.
func (s *Source) Over(limit time.Duration) error {
	return until(context.Background(), limit, s.over)
}

// over reports whether none of them is left that could run.
func (s *Source) over() (bool, error) {
	for _, p := range s.Procs {
		if p.there() {
			return false, nil
		}
	}
	return true, nil
}

// there reports whether a process has not ended. Its first thread may have.
func (p Proc) there() bool {
	stat, err := proc.ReadStat(p.PID)
	return err == nil && stat.StartTime == p.Start && (stat.State != 'Z' && stat.State != 'X' || stat.NumThreads > 1)
}

func (p Proc) signal(sig unix.Signal) error {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		if err == unix.ESRCH {
			err = nil
		}
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(fd)
	if stat, err := proc.ReadStat(p.PID); err != nil || stat.StartTime != p.Start {
		return nil // another one has its id
	}
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil && err != unix.ESRCH {
		return fmt.Errorf("%s can't be signalled: %w", proc.Named(p.PID), err)
	}
	return nil
}

// ErrUndecided: nobody knows whether the target runs on the other side.
var ErrUndecided = errors.New("undecided")

// Undecided is the error for a target that stands still, because nobody knows whether it runs on the other side.
func Undecided(who, id string, why error) error {
	return &undecidedError{who, id, why}
}

type undecidedError struct {
	who, id string
	why     error
}

func (e *undecidedError) Error() string {
	text := fmt.Sprintf("%s stays stopped, for nobody knows whether it runs on the other side, which was told to let it run and did not answer", e.who)
	if e.why != nil {
		text += ": " + e.why.Error()
	}
	return text
}

func (e *undecidedError) Is(to error) bool { return to == ErrUndecided }

func (e *undecidedError) Unwrap() error { return e.why }

func (e *undecidedError) Hint() string {
	return "ask the other side, and end or continue it here by what that says: ckpt-commit --resolve " + e.id
}
