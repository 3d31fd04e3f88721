package apply

import (
	"context"
	"fmt"
	"os"

	"ckpt/internal/judge"
	"ckpt/internal/move"
	"ckpt/internal/sys"
)

// asked answers who asks, in place of a stream, what became of a tree that was handed over.
func asked(ctx context.Context, in, out *os.File) (bool, error) {
	first, ok, err := sys.FirstByte(in)
	if err != nil || !ok || first != move.Prefix[0] {
		return false, nil // reading tells
	}
	return true, move.Reply(ctx, move.NewLine(in, out))
}

// prepared restores a tree that runs only when the other side says so, and answers it.
func prepared(ctx context.Context, o *Options, in *os.File, run func() (int, error)) (status int, err error) {
	if ok, err := asked(ctx, in, o.Stdout); ok || err != nil {
		return 0, err
	}
	if err := move.CheckPlace(); err != nil {
		return 0, &judge.Refused{Reasons: []error{err}}
	}
	o.target = move.NewTarget(move.NewLine(in, o.Stdout))
	defer o.target.Close()
	if status, err = run(); status != 0 || err != nil {
		o.target.No()
	}
	return status, err
}

// allow has the one who hands the tree over say whether it may run.
func (s *supervisor) allow(ctx context.Context, checkpoint string) error {
	if s.o.target == nil {
		return nil
	}
	s.o.Step("pid %d is prepared", s.pid)
	if err := s.o.target.Prepare(ctx, checkpoint, s.pid); err != nil {
		return fmt.Errorf("what was prepared is taken back: %w", err)
	}
	return nil
}

func (s *supervisor) loosen() error {
	if s.o.target == nil {
		return nil
	}
	return s.o.target.Release()
}

// free notes that the tree runs whatever becomes of us.
func (s *supervisor) free() {
	if s.o.target != nil {
		s.o.target.Ran()
	}
}

func (l *initLink) allow(_ context.Context, checkpoint string) error {
	if !l.o.Prepared {
		return nil
	}
	return l.ask(sayAllow, []byte(checkpoint), 0)
}

func (l *initLink) loosen() error {
	if !l.o.Prepared {
		return nil
	}
	return l.ask(sayLoosen, nil, 0)
}
