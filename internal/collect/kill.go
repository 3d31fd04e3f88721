package collect

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
)

// mayEnd blocks the processes that this user may not stop or kill as he asked: the right
// to trace a process does not imply the right to signal it.
func (t *tree) mayEnd(b *blockers, leave string) {
	word := map[string]string{LeaveKilled: "killed", LeaveStopped: "stopped"}[leave]
	if word == "" {
		return
	}
	for _, p := range t.procs {
		if !p.zombie && unix.Kill(p.pid, 0) == unix.EPERM {
			b.add(p.pid, &noKill{word})
		}
	}
}

// noKill: CAP_KILL is missing.
type noKill struct{ word string }

func (e *noKill) Error() string {
	return fmt.Sprintf("belongs to another user and may not be %s by this one, which takes CAP_KILL", e.word)
}

func (e *noKill) Hint() string { return "leave it running: --leave running" }

// notEnded is the error for a process that could not be stopped or killed.
func (t *tree) notEnded(p *process, word string, err error) error {
	return fmt.Errorf("pid %d (%s) could not be %s: %w", p.pid, p.stat.Comm, word, err)
}

// kill kills all processes, in one system call; none of them runs in between. If one can't
// be killed, none is, and all run on.
func (t *tree) kill() error {
	for _, p := range t.procs {
		if err := unix.Kill(p.pid, 0); err != nil && err != unix.ESRCH && !p.zombie {
			return errors.Join(t.notEnded(p, "killed", err), t.release())
		}
	}
	t.volley(unix.SIGKILL, lives)
	var errs []error
	for _, p := range t.procs { // whom that did not reach
		if err := unix.Kill(p.pid, unix.SIGKILL); err != nil && err != unix.ESRCH && !p.zombie {
			errs = append(errs, cli.Exit(cli.StatusChanged, t.notEnded(p, "killed", err)))
			for _, th := range append(p.threads, p.workers...) {
				errs = append(errs, th.Detach(0))
			}
			p.threads, p.workers = nil, nil
		}
	}
	for _, p := range t.procs {
		for _, th := range slices.Backward(append(p.threads, p.workers...)) { // the leader's end is reported last
			errs = append(errs, th.AwaitEnd())
		}
		p.threads, p.workers = nil, nil
	}
	return errors.Join(errs...)
}
