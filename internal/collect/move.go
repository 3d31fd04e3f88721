package collect

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/hold"
	"ckpt/internal/move"
	"ckpt/internal/proc"
	"ckpt/internal/tracee"
)

// stopForGood is called when the other side of a move has built the tree: from now on it stands
// still even if we are killed, and what becomes of it is decided in the record of the move. Only
// the record's states say whether it may go on, see package move.
func (c *collection) stopForGood(id string) error {
	switch {
	case !move.ValidID(id):
		return fmt.Errorf("%q is not the id of a move", id)
	case c.Leave != LeaveKilled:
		return errors.New("a move ends the target: --leave killed")
	case c.Inside != nil:
		return cli.WithHint(errors.New("it is the init of a pid namespace, which can't be moved (--move)"), "save it, and restore it on the other side: ckpt-commit COMMAND, without --move")
	case c.TCP == TCPKeep:
		return cli.WithHint(errors.New("TCP connections are kept on this system (--tcp keep), and can't be moved with the program"), "without --tcp keep they are reset")
	}
	// Those who are killed later, maybe by others, never come home and take it back; those
	// who go on do.
	if err := c.description.keep(); err != nil {
		return err
	}
	c.kept = true
	procs, err := c.description.named()
	if err != nil {
		return err
	}
	if c.moving, err = move.Begin(id, c.description.header.Checkpoint, procs); err != nil {
		return err
	}
	if c.life, err = startWarden(c.moving); err != nil {
		return err
	}
	if err := c.tree.stop(); err != nil {
		return err
	}
	if err := c.tree.park(procs); err != nil {
		return err
	}
	c.Step("%s stopped for good after %v", c.what(), c.frozen())
	_, err = c.moving.Advance(move.Stopped, move.Held)
	return err
}

// named returns all processes for a record.
func (d *description) named() (list []move.Proc, err error) {
	for _, p := range d.tree.procs {
		if p.zombie {
			continue
		}
		stat, err := proc.ReadStat(p.pid)
		if err != nil {
			return nil, err
		}
		at := move.Proc{PID: p.pid, Start: stat.StartTime, Stopped: p.stopped(), Loop: d.about[p].place.Loop()}
		for _, th := range p.threads {
			now, err := th.Now()
			if err != nil {
				return nil, err
			}
			at.Threads = append(at.Threads, now)
		}
		list = append(list, at)
	}
	return list, nil
}

// park parks all threads, of which the record has procs. SIGSTOP waits for them already.
func (t *tree) park(procs []move.Proc) error {
	for i := range procs {
		p := t.byPID[procs[i].PID]
		if err := p.threads[0].WriteLoop(procs[i].Loop); err != nil {
			return err
		}
		for _, th := range p.threads {
			if err := th.Park(procs[i].Loop); err != nil {
				return err
			}
		}
	}
	return nil
}

// unpark takes the effect of park back, as far as it got.
func (t *tree) unpark(procs []move.Proc) error {
	var errs []error
	for i := range procs {
		p := t.byPID[procs[i].PID]
		var err error
		for j, th := range p.threads {
			err = errors.Join(err, th.Unpark(procs[i].Loop, &procs[i].Threads[j]))
		}
		err = errors.Join(err, p.threads[0].ClearLoop(procs[i].Loop))
		if !errors.Is(err, tracee.ErrDead) { // it was killed meanwhile
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// stopped reports whether a process had been stopped by a signal before.
func (p *process) stopped() bool { return len(p.threads) > 0 && p.threads[0].GroupStop != 0 }

// stop sends SIGSTOP to all that are not stopped anyway, in one system call. It takes effect
// when they are let go.
func (t *tree) stop() error {
	t.volley(unix.SIGSTOP, func(p *process) bool { return !p.zombie && !p.stopped() })
	return t.signalRunning(unix.SIGSTOP, "stopped")
}

// goOn takes the effect of park and stop back.
func (t *tree) goOn(procs []move.Proc) error {
	return errors.Join(t.unpark(procs), t.signalRunning(unix.SIGCONT, "continued"))
}

func (t *tree) signalRunning(sig unix.Signal, word string) error {
	for _, p := range t.procs {
		if p.zombie || p.stopped() {
			continue
		}
		if err := unix.Kill(p.pid, sig); err != nil && err != unix.ESRCH {
			return t.notEnded(p, word, err)
		}
	}
	return nil
}

// handOver does what the record of the move says, after the holders said res, or err ended the
// wait for them.
func (c *collection) handOver(h *hold.Hold, res hold.Outcome, err error) error {
	defer c.moving.Close()
	defer c.life.Close()
	state, serr := c.refuse()
	for serr == nil && state == move.Sent && err != nil && !signalled(err) {
		// Whatever limit was reached, it can't run: the wait harms nobody any more.
		c.dog.stop()
		res, err = h.Wait(context.Background(), hold.WaitOptions{})
		state, serr = c.refuse()
	}
	switch {
	case serr != nil: // another one has settled it, or may: nothing here may let it run
		return errors.Join(err, serr, c.leaveStopped())
	case state == move.Moved:
		err := c.letGo(LeaveKilled)
		if err == nil {
			err = c.moving.Remove()
		}
		return err
	case state == move.Sent:
		return c.undecided(res, err)
	}
	err = errors.Join(err, c.tree.goOn(c.moving.Procs), c.letGo(LeaveRunning), c.moving.Remove())
	if err == nil {
		return &HolderError{PID: c.PID, Failures: append(res.Failures, "ckpt-commit failed")}
	}
	return err
}

// refuse has the target go on unless go may have been said. It returns the state before.
func (c *collection) refuse() (move.State, error) {
	return c.moving.Advance(move.Stays, move.Held, move.Stopped)
}

func signalled(err error) bool {
	var s *cli.Signalled
	return errors.As(err, &s)
}

// undecided leaves the target to ckpt-commit --resolve. ckpt-commit says so, if it can.
func (c *collection) undecided(res hold.Outcome, err error) error {
	told := err == nil
	for _, why := range res.Failures {
		told = told && !strings.Contains(why, " died ")
	}
	left := c.leaveStopped()
	if told {
		return errors.Join(cli.Exit(cli.StatusUndecided, nil), left)
	}
	return errors.Join(cli.Exit(cli.StatusUndecided, move.Undecided(c.what(), c.moving.ID, nil)), left)
}

// leaveStopped lets go of the target without letting it run.
func (c *collection) leaveStopped() error {
	c.dog.enter(phaseLetGo)
	defer c.dog.stop()
	c.done = true
	return errors.Join(c.description.lender.giveBack(), c.description.files.LetGo(), c.tree.release())
}
