package commit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ckpt/internal/hold"
	"ckpt/internal/move"
	"ckpt/internal/proc"
)

const (
	// stopTime is how long ckpt-collect may take to stop the target for good.
	stopTime = 10 * time.Second
	// settleTime is how long it may take to end or continue it.
	settleTime = 10 * time.Second
	// endTime is how long the command may take to end when all is said.
	endTime = 2 * time.Second
)

// ErrStays: the move did not happen, and the target runs on.
var ErrStays = errors.New("the target runs on")

// errNot: the other side has said no.
var errNot = errors.New("the other side has said why it can't run there")

// stays says why a move did not happen.
func stays(why error) error {
	if errors.Is(why, ErrStays) {
		return why
	}
	return &staysError{why}
}

type staysError struct{ why error }

func (e *staysError) Error() string {
	return fmt.Sprintf("it is not moved, and %v: %v", ErrStays, e.why)
}
func (e *staysError) Unwrap() []error { return []error{ErrStays, e.why} }

// mover hands a target over when all of the stream has been given to the command.
type mover struct {
	timeout time.Duration
	program *Program
	holder  *hold.Holder
	check   string // the checkpoint
	line    *move.Line
	full    chan struct{} // closed when the command has been given all
	silent  chan struct{} // closed when listen has returned
	step    func(format string, args ...any)
}

// ready refuses what can't be moved.
func (t *transfer) ready() error {
	switch {
	case !t.killed: // then nobody may hold it any more, either
		return stays(errNotKilled)
	case t.holder == nil:
		return stays(errNotHeld)
	}
	return nil
}

var (
	errNotKilled = errors.New("ckpt-collect was not asked to end it, which takes --leave killed")
	errNotHeld   = errors.New("no ckpt-collect on this system holds it; an image is restored by ckpt-apply alone")
)

// handOver asks the other side, stops the target for good, and says go. ctx also ends when the
// command has ended badly. A nil error means that the target runs there, and was ended here.
func (m *mover) handOver(ctx context.Context) error {
	id, err := m.prepared(ctx)
	if err != nil {
		return stays(err)
	}
	m.step("%s has built it; now it is stopped here", m.program)
	if err := m.holder.Stop(id); err != nil {
		return stays(err)
	}
	src, err := move.AwaitStopped(ctx, id, stopTime, m.holder.Gone)
	if err != nil {
		return m.abandon(id, fmt.Errorf("ckpt-collect has not stopped it: %w", err))
	}
	if ctx.Err() != nil {
		return m.settle(src, move.Stays, context.Cause(ctx))
	}
	if err := m.line.Silent(); err != nil {
		return m.settle(src, move.Stays, err)
	}
	if err := src.Send(m.program.args); err != nil {
		return m.settle(src, move.Stays, err)
	}
	if err := m.line.Say(ctx, move.Message{Verb: move.Go, ID: id}); err != nil {
		return m.settle(src, move.Stays, err)
	}
	verb, err := answer(ctx, m.line, id, m.timeout)
	switch verb {
	case move.Running:
		return m.settle(src, move.Moved, nil)
	case move.Not:
		return m.settle(src, move.Stays, errNot)
	}
	return errors.Join(move.Undecided(proc.Named(src.Root()), id, err), src.Close())
}

// listen reads what the command says before it was given all, as login shells do: it may wait for that to be read, and
// we wait for it. An answer then is to nothing that was asked.
func (m *mover) listen() {
	defer close(m.silent)
	for {
		if err := m.line.Silent(); errors.Is(err, move.ErrLine) {
			m.program.stop(stays(err))
			m.program.breakOff()
			return
		} else if err != nil {
			return // whoever waits for an answer gets the same
		}
		select {
		case <-m.full:
			return
		case <-time.After(listenTick):
		}
	}
}

const listenTick = 20 * time.Millisecond

// prepared waits until the other side has built all, and returns the id that it gives the move.
func (m *mover) prepared(ctx context.Context) (string, error) {
	if err := m.line.Say(ctx, move.Message{Verb: move.Open, ID: m.check}); err != nil {
		return "", m.cause(err)
	}
	a, err := m.line.Hear(ctx, m.timeout)
	if err == nil && (a.Verb != move.Prepared || a.Checkpoint != m.check) {
		err = move.ErrLine
	}
	return a.ID, m.cause(err)
}

// cause prefers how the command has ended to that it says nothing any more.
func (m *mover) cause(err error) error {
	if !errors.Is(err, move.ErrBroken) {
		return err
	}
	select {
	case <-m.program.ended:
		if end := m.program.how(false); end != nil {
			return end
		}
	case <-time.After(endTime):
	}
	return err
}

// answer waits for what became of a move.
func answer(ctx context.Context, line *move.Line, id string, limit time.Duration) (move.Verb, error) {
	a, err := line.Hear(ctx, limit)
	switch {
	case err != nil:
		return move.Unknown, err
	case a.ID != id || a.Verb != move.Running && a.Verb != move.Not && a.Verb != move.Unknown:
		return move.Unknown, move.ErrLine
	}
	return a.Verb, nil
}

// abandon has a target go on that ckpt-collect has not stopped, or not told.
func (m *mover) abandon(id string, why error) error {
	if src, err := move.Find(id); err == nil {
		return m.settle(src, move.Stays, why)
	}
	return stays(why)
}

// settle notes what was decided and has it done. A target that was to go on goes on for the reason why.
func (m *mover) settle(src *move.Source, to move.State, why error) error {
	if _, err := src.Advance(to, move.Held, move.Stopped, move.Sent); err != nil && !errors.Is(err, move.ErrNone) {
		return errors.Join(move.Undecided(proc.Named(src.Root()), src.ID, errors.Join(why, err)), src.Close())
	}
	if to == move.Moved {
		_ = m.holder.Committed(0) // or else we end it
	} else {
		_ = m.holder.Failed()
	}
	err := src.Settle(context.Background(), settleTime)
	if to == move.Moved {
		return err
	}
	return errors.Join(stays(why), err)
}

// ResolveOptions are what the user asks for.
type ResolveOptions struct {
	ID      string
	Args    []string // the command; none: that of the move
	Timeout time.Duration
	Step    func(format string, args ...any)
}

// ErrUnknown: the other side can't say either.
var ErrUnknown = errors.New("the other side does not know either: it has no record of it any more, as after a restart, or ckpt-apply was killed there in the instant in which it began to run")

// Resolve asks the other side what became of a move, and ends or continues the target.
func Resolve(ctx context.Context, o ResolveOptions) error {
	src, err := move.Find(o.ID)
	if err != nil {
		return err
	}
	// Before go was said, there is nothing to ask.
	state, err := src.Advance(move.Stays, move.Held, move.Stopped)
	if err != nil {
		return err
	}
	switch state {
	case move.Sent:
		if state, err = ask(ctx, &o, src); err != nil {
			return errors.Join(move.Undecided(proc.Named(src.Root()), o.ID, err), src.Close())
		}
	case move.Held, move.Stopped:
		state = move.Stays
	}
	err = src.Settle(ctx, settleTime)
	if err == nil && state == move.Moved {
		o.Step("it runs on the other side, and was ended here")
		return nil
	}
	if err != nil {
		return err
	}
	return ErrStays
}

// ask asks, notes the answer, and returns it. The warden may have done what that says, and
// removed the record, before the command has ended.
func ask(ctx context.Context, o *ResolveOptions, src *move.Source) (move.State, error) {
	args := o.Args
	if len(args) == 0 {
		args = src.Command
	}
	p, err := Find(args, nil)
	if err != nil {
		return "", err
	}
	p.Answers = true
	if err := p.start(); err != nil {
		return "", err
	}
	defer p.hangUp(ctx)
	line := move.NewLine(p.answers, p.in)
	if err := line.Say(ctx, move.Message{Verb: move.Ask, ID: o.ID}); err != nil {
		return "", err
	}
	verb, err := answer(ctx, line, o.ID, o.Timeout)
	to, ok := map[move.Verb]move.State{move.Running: move.Moved, move.Not: move.Stays}[verb]
	switch {
	case err != nil:
		return "", err
	case !ok:
		return "", ErrUnknown
	}
	was, err := src.Advance(to, move.Sent)
	if err == nil && (was == move.Moved || was == move.Stays) {
		to = was // another one has asked before
	}
	if errors.Is(err, move.ErrNone) {
		err = nil
	}
	return to, err
}
