// Package collect freezes a process tree, describes it as a stream of raw records, and
// lets it go. It has the order of the steps; packages task, memory and files carry them
// out.
package collect

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/files"
	"ckpt/internal/hold"
	"ckpt/internal/loan"
	"ckpt/internal/memory"
	"ckpt/internal/move"
	"ckpt/internal/proc"
	"ckpt/internal/repair"
	"ckpt/internal/sys"
	"ckpt/internal/task"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

// What becomes of the target.
const (
	LeaveRunning = record.LeaveRunning
	LeaveStopped = record.LeaveStopped
	LeaveKilled  = record.LeaveKilled
)

// What becomes of TCP connections to programs outside.
const (
	TCPReset = "reset"
	TCPKeep  = "keep"
)

// Tool is the name with which this filter signs its records.
const Tool = "ckpt-collect"

// Options are what the user asks for.
type Options struct {
	PID         int
	Leave       string
	HoldTimeout time.Duration // how long to wait for a filter to take the hold
	Timeout     time.Duration // how long to wait for the target to stop
	Stall       time.Duration // how long there may be no progress while the target is frozen; 0: for ever
	MaxFreeze   time.Duration // how long it may be frozen; 0: as long as it takes
	DryRun      bool
	TCP         string          // TCPReset or TCPKeep
	TCPHold     time.Duration   // how long packets of kept connections are dropped at most
	TCPTrust    bool            // the target's user may use our CAP_NET_ADMIN while they are read
	Copy        map[string]bool // shared memory that the image gets a copy of, by name
	Version     string
	Inside      *inside                          // of the target's pid namespace, and not where the user is; nil if that is the same
	Note        func(format string, args ...any) // what the user should know
	Step        func(format string, args ...any) // what -v shows
	Die         func(err error)                  // reports the error and ends the program
}

// Run collects the target into out. The target is let go before Run returns, whatever
// happens. If we are killed, it lets itself go; and so it does when our process ends
// because the thread that traces it is stuck in the kernel.
func Run(ctx context.Context, o Options, out *os.File) error {
	c := &collection{Options: o}
	end, stuck := make(chan error, 1), make(chan error, 1)
	go func() {
		// The kernel ties tracees to the thread that attached them.
		runtime.LockOSThread()
		end <- c.collect(ctx, out, func(err error) { stuck <- err })
	}()
	var err error
	select {
	case err = <-end:
	case err = <-stuck: // before the first byte
	}
	if err != nil && !c.begun && !o.DryRun && !hold.Copies(out) {
		// The filters behind us wait for a stream, but the error is reported here.
		stream.NewWriter(out).Abort(Tool, err)
	}
	return err
}

func (c *collection) collect(ctx context.Context, out *os.File, stuck func(error)) error {
	o := &c.Options
	if err := proc.CheckKernel(); err != nil {
		return cli.Exit(cli.StatusRefused, err)
	}
	err := admit(o.PID)
	if err == nil {
		err = rights(o)
	}
	if err != nil {
		return err
	}
	if c.ids, err = newIDs(o.PID, o.Inside); err != nil {
		return err
	}
	if err := awaitVfork(ctx, o.PID, o.Timeout); err != nil {
		return err
	}
	c.outsiders = lookOutside(c.ids)
	for pause := time.Millisecond; ; pause *= 2 {
		err = c.attempt(ctx, out, stuck)
		if pause > longestPause || !passes(err) {
			break
		}
		c.Step("%v; it runs on for %v, and then again", err, pause)
		time.Sleep(pause)
	}
	for _, text := range c.notes {
		c.Note("%s", text)
	}
	return err
}

// longestPause is how long the target may run, after shorter pauses, to get over what
// stands in the way.
const longestPause = 128 * time.Millisecond

// attempt stops the target, tries to save it, and lets it go.
func (c *collection) attempt(ctx context.Context, out *os.File, stuck func(error)) error {
	o := &c.Options
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c.dog = watch(o, out, cancel)
	defer c.dog.stop()
	cpu, err := tracee.OwnCPU() // now, because some kernels take their time
	if err != nil {
		return err
	}
	t, err := freeze(o.PID, o.Timeout, stuck)
	if err != nil {
		return err
	}
	if err := c.ids.learn(t); err != nil {
		return errors.Join(err, t.release())
	}
	c.outsiders.settle(t.procs, c.ids)
	c.tree, c.description, c.done, c.notes = t, newDescription(t), false, nil
	c.description.ids = c.ids
	if c.ids.of != nil {
		c.description.files.UsualInTree = c.outsiders.inTree
	}
	c.description.dry, c.description.kills, c.description.header.Leave = c.DryRun, o.Leave == LeaveKilled, o.Leave
	c.description.header.CPUVendor, c.description.header.CPUFeatures = cpu.Vendor, cpu.Flags
	c.description.header.RootPID = o.PID
	if o.Inside != nil {
		c.description.own = o.Inside.own
	}
	c.description.note, c.description.files.Dry, c.description.files.Outsider = c.Note, c.DryRun, c.outsiders.name
	if o.TCP == TCPKeep {
		c.description.trusts = o.TCPTrust
		c.description.files.Keep = &files.Keep{Kill: o.Leave == LeaveKilled, Checkpoint: c.description.header.Checkpoint, Timeout: o.TCPHold}
	}
	err = c.run(ctx, out)
	return errors.Join(err, c.letGo(LeaveRunning), c.description.files.Close(), c.description.closeMounts())
}

// collection is one checkpoint under way.
type collection struct {
	Options
	ids         *ids
	tree        *tree
	description *description
	dog         *watchdog
	outsiders   *outsiders
	notes       []string     // for the user, when the tree runs again
	begun       bool         // the stream has begun
	done        bool         // the target was let go
	kept        bool         // its threads have done what they do before a kill
	moving      *move.Source // nil: it was not stopped for a move
	life        *os.File     // whose end tells the warden of ours
}

func (c *collection) run(ctx context.Context, out *os.File) error {
	d := c.description
	c.tree.mayEnd(&d.blockers, c.Leave)
	c.Step("%s stopped after %v", c.what(), since(c.tree.began, c.tree.frozen))
	c.dog.enter(phaseLook)
	d.looking = c.dog.look
	if err := d.describe(); err != nil {
		return err
	}
	c.sharedMemory()
	if err := d.blockers.err(); err != nil {
		return err
	}
	c.nameEnds()
	if c.DryRun {
		if err := d.judge(); err != nil {
			return err
		}
		c.Step("%s can be saved; it stood still for %v", c.what(), c.frozen())
		return nil
	}
	if over := d.files.Unguarded(); over != nil {
		go func() {
			<-over
			c.dog.cancel(repair.ErrGuard)
		}()
	}
	h, err := hold.New(d.header.Checkpoint)
	if err != nil {
		return err
	}
	defer h.Close()
	c.dog.hold.Store(h)
	if err := c.header(h.Ref()); err != nil {
		return err
	}
	c.Step("described in %d records after %v more", len(d.records), time.Since(c.tree.frozen).Round(time.Microsecond))
	if err := c.send(ctx, out, h); err != nil {
		return err
	}
	c.Step("pages and contents sent %v after the first stop", c.frozen())
	return c.finish(ctx, out, h)
}

// what names the target in messages.
func (c *collection) what() string {
	p, t := len(c.tree.procs), c.tree.threads()
	if p == 1 && t == 1 {
		return fmt.Sprintf("pid %d", c.PID)
	}
	return fmt.Sprintf("pid %d and its tree (%d processes, %d threads)", c.PID, p, t)
}

func since(begin, end time.Time) time.Duration { return end.Sub(begin).Round(time.Microsecond) }

func (c *collection) frozen() time.Duration {
	return since(c.tree.began, time.Now())
}

// header fills in what describe did not.
func (c *collection) header(ref hold.Ref) error {
	h := &c.description.header
	h.Stage, h.Tool = record.StageRaw, Tool+" "+c.Version
	h.TimeNS = c.tree.frozen.UnixNano()
	h.Processes, h.Threads = len(c.tree.procs), c.tree.threads()
	h.StopUS, h.DescribeUS = c.tree.frozen.Sub(c.tree.began).Microseconds(), time.Since(c.tree.frozen).Microseconds()
	h.Arch, h.PageSize = runtime.GOARCH, int64(os.Getpagesize())
	h.Tracer = c.ids.usual(unix.Gettid())
	h.Hold = &record.Hold{PID: c.ids.usual(ref.PID), StartTime: ref.StartTime, FD: ref.FD, BootID: ref.BootID, Mark: ref.Mark}
	var err error
	if h.Host, err = os.Hostname(); err != nil {
		return err
	}
	if h.Kernel, err = proc.KernelRelease(); err != nil {
		return err
	}
	if h.BootID, err = proc.BootID(); err != nil {
		return err
	}
	// After the timers were read, so that no restored one expires too early.
	h.Clocks, err = task.ReadClocksOf(c.PID)
	return err
}

// send writes the stream.
func (c *collection) send(ctx context.Context, out *os.File, h *hold.Hold) error {
	c.begun = true
	c.dog.enter(phaseSend)
	sys.GrowPipes(out)
	w := stream.NewWriter(out)
	err := c.records(ctx, w, hold.Copies(out), h)
	if err != nil {
		w.Abort(Tool, err)
	}
	return err
}

func (c *collection) records(ctx context.Context, w *stream.Writer, consumed bool, h *hold.Hold) error {
	d := c.description
	if err := w.Add(record.TypeHeader, &d.header); err != nil {
		return err
	}
	for _, rec := range d.records {
		if err := w.Write(rec, nil); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	byReference := func() bool { return consumed || h.DataHeld() }
	for _, send := range d.files.Senders() {
		if err := send(w, byReference); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if d.mounts != nil {
		if err := d.mounts.Send(w, byReference); err != nil {
			return err
		}
	}
	if d.ipc != nil {
		if err := d.ipc.Send(w); err != nil {
			return err
		}
	}
	for _, s := range d.spaces {
		if err := c.pages(w, s, byReference); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
	}
	return w.End(record.End{FrozenUS: c.frozen().Microseconds()})
}

// worthBorrowing is the number of bytes from which on a loan is worth its cost; fewer
// are copied.
const worthBorrowing = 1 << 20

// pages sends the pages of one address space.
func (c *collection) pages(w *stream.Writer, s *space, byReference func() bool) error {
	pid, at := s.process.pid, s.process.at()
	if err := memory.SendInherited(w, pid, s.id, s.inherit); err != nil {
		return err
	}
	if len(s.pages) == 0 {
		return nil
	}
	// A task confined by seccomp is in danger while it makes a call of ours, see
	// task.SuspendSeccomp.
	if s.confined || s.bytes() < worthBorrowing {
		never := func() bool { return false }
		return (&memory.Source{PID: pid, At: at, ID: s.id, ByReference: never}).Send(w, s.pages)
	}
	return c.description.lender.lend(s.process.threads[0], s.place, func(loan *loan.Loan) error {
		return (&memory.Source{Loan: loan, PID: pid, At: at, ID: s.id, ByReference: byReference}).Send(w, s.pages)
	})
}

// finish closes the stream, waits for the filters that hold the target, and then does
// with it what the user asked for.
func (c *collection) finish(ctx context.Context, out *os.File, h *hold.Hold) error {
	pipe := !hold.Copies(out)
	if err := out.Close(); err != nil {
		return err
	}
	wait := hold.WaitOptions{NeedCommit: c.Leave == LeaveKilled, Stop: c.stopForGood}
	if pipe { // into a file, nobody could follow the HEADER to the hold in time
		wait.FirstTimeout = c.HoldTimeout
	}
	c.dog.enter(phaseWait)
	res, err := h.Wait(ctx, wait)
	if c.moving != nil {
		return c.handOver(h, res, err)
	}
	if err != nil {
		return err
	}
	return c.judge(res, pipe)
}

// judge decides what to do with the target by what the holders said.
func (c *collection) judge(res hold.Outcome, pipe bool) error {
	switch {
	case len(res.Failures) > 0:
		return &HolderError{PID: c.PID, Failures: res.Failures}
	case c.Leave == LeaveKilled && !res.Committed:
		return c.notStored(res)
	case !res.Taken && pipe:
		c.Note("no filter took the hold within %v, so pid %d goes on; ckpt-dedup will refuse this stream now", c.HoldTimeout, c.PID)
	}
	err := c.letGo(c.Leave)
	c.Step("%s stood still for %v", fmt.Sprintf("pid %d", c.PID), c.frozen())
	return err
}

// notStored is the error for a target that was to be killed and is not.
func (c *collection) notStored(res hold.Outcome) error {
	if res.Stored {
		return cli.WithHint(fmt.Errorf("pid %d runs on: its image went into a pipe, and nobody knows whether it is stored safely", c.PID),
			"ckpt-write says so when it writes to a file: ckpt-write -o img; and ckpt-commit of a command that stores it: ckpt-write | ckpt-commit COMMAND")
	}
	return cli.WithHint(fmt.Errorf("pid %d runs on: no filter that stores the image took the hold", c.PID),
		"run ckpt-write on this host and as the same user: ckpt-dedup | ckpt-write -o img")
}

// HolderError: a filter that held the target failed. It has told the user why, unless
// it was killed.
type HolderError struct {
	PID      int
	Failures []string
}

func (e *HolderError) Error() string {
	return fmt.Sprintf("pid %d runs on, because a filter behind ckpt-collect gave up: %s", e.PID, e.Failures[0])
}

// unreported returns what no filter can have reported itself: that it died.
func (e *HolderError) unreported() error {
	var errs []error
	for _, why := range e.Failures {
		if strings.Contains(why, " died ") {
			errs = append(errs, fmt.Errorf("%s, so pid %d runs on", why, e.PID))
		}
	}
	return errors.Join(errs...)
}

// letGo gives the target back. It does nothing the second time.
func (c *collection) letGo(leave string) error {
	c.dog.enter(phaseLetGo)
	err := c.description.lender.giveBack()
	if c.done {
		return err
	}
	c.done = true
	if leave != LeaveKilled {
		defer c.dog.stop()
		return errors.Join(err, c.description.files.LetGo(), c.tree.end(leave))
	}
	var kerr error
	if !c.kept {
		kerr = c.description.keep()
	}
	c.dog.stop() // a target that is killed no longer waits for us
	var left *files.Survivors
	if kerr == nil {
		left, kerr = c.description.files.BeforeKill(c.PID)
	}
	if kerr != nil {
		return errors.Join(err, kerr, c.description.files.LetGo(), c.tree.release()) // threads on loan walk home
	}
	if c.Inside != nil {
		return errors.Join(err, c.Inside.kill(left), left.End(false), c.tree.release())
	}
	kerr = c.tree.end(leave)
	err = errors.Join(err, kerr, left.End(kerr == nil))
	if held := c.description.files.Held; held != "" {
		c.tell("%s", held)
	}
	return err
}
