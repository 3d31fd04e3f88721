package commit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/sys"
)

// Exit statuses as those of env(1) and timeout(1).
const (
	statusCantRun  = 126
	statusNotFound = 127
)

// Program is what stores the stream.
type Program struct {
	path   string
	args   []string
	stdout *os.File
	// Answers: what it writes to its standard output is for us.
	Answers bool

	stop    context.CancelCauseFunc // is told if it ends too early, or not well
	cmd     *exec.Cmd               // nil: not started
	in      *os.File                // the other end of its standard input
	answers *os.File                // the other end of its standard output, with Answers
	ended   chan struct{}           // closed when it has
	early   bool                    // it has ended, and left its standard input to somebody
}

// Find looks for the program of a command line.
func Find(args []string, stdout *os.File) (*Program, error) {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return nil, startError(args[0], err)
	}
	return &Program{path: path, args: args, stdout: stdout}, nil
}

func (p *Program) String() string {
	return fmt.Sprintf("pid %d (%s)", p.cmd.Process.Pid, filepath.Base(p.args[0]))
}

// start starts it. If we are killed, it is told to end: what it has read is not whole.
func (p *Program) start() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	sys.GrowPipes(w)
	out, err := p.output()
	if err != nil {
		return errors.Join(err, w.Close())
	}
	defer func() {
		if p.Answers {
			out.Close()
		}
	}()
	cmd := &exec.Cmd{Path: p.path, Args: p.args, Stdin: r, Stdout: out, Stderr: os.Stderr,
		SysProcAttr: &syscall.SysProcAttr{Pdeathsig: unix.SIGTERM}}
	runtime.LockOSThread() // whose end the kernel takes for ours, see PR_SET_PDEATHSIG
	if err := cmd.Start(); err != nil {
		runtime.UnlockOSThread()
		return errors.Join(startError(p.args[0], err), w.Close())
	}
	p.cmd, p.in, p.ended = cmd, w, make(chan struct{})
	r.Close()
	go p.wait()
	return nil
}

// output is what becomes its standard output.
func (p *Program) output() (*os.File, error) {
	if !p.Answers {
		return p.stdout, nil
	}
	r, w, err := os.Pipe()
	p.answers = r
	return w, err
}

// hangUp ends the line to it, and it too, if it does not end by itself. Is ctx over, there is no time to wait for
// that: what is to be said must be said before a signal ends us.
func (p *Program) hangUp(ctx context.Context) {
	p.in.Close()
	if errors.As(context.Cause(ctx), new(*cli.Signalled)) {
		_ = p.cmd.Process.Signal(unix.SIGTERM)
		return
	}
	for _, sig := range []os.Signal{nil, unix.SIGTERM, unix.SIGKILL} {
		if sig != nil {
			_ = p.cmd.Process.Signal(sig)
		}
		select {
		case <-p.ended:
			p.answers.Close()
			return
		case <-time.After(endTime):
		}
	}
}

// breakOff ends it, in the middle of what it does.
func (p *Program) breakOff() {
	for _, sig := range []os.Signal{unix.SIGTERM, unix.SIGKILL} {
		_ = p.cmd.Process.Signal(sig)
		select {
		case <-p.ended:
			return
		case <-time.After(endTime):
		}
	}
}

// wait waits for its end. Who ends and leaves its standard input to another process, which
// reads on, can't know that all was stored.
func (p *Program) wait() {
	_ = p.cmd.Wait()
	p.early = sys.HasReaders(p.in)
	if end := p.how(p.early); end != nil && p.stop != nil {
		p.stop(end)
	}
	close(p.ended)
}

// finish waits until all was read, then for the end.
func (p *Program) finish(ctx context.Context) error {
	if err := sys.Drain(ctx, p.in); err != nil {
		return err
	}
	if err := p.in.Close(); err != nil {
		return err
	}
	select {
	case <-p.ended:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if end := p.end(p.early); end != nil {
		return end
	}
	return nil
}

// terminate tells it to end.
func (p *Program) terminate() { _ = p.cmd.Process.Signal(unix.SIGTERM) }

// end waits for the end, with nothing more to read, and tells what was wrong with it.
func (p *Program) end(unread bool) *EndError {
	p.in.Close()
	<-p.ended
	runtime.UnlockOSThread()
	return p.how(unread)
}

// how tells what was wrong with its end, or nil.
func (p *Program) how(unread bool) *EndError {
	if p.cmd.ProcessState.Success() && !unread {
		return nil
	}
	return &EndError{Who: p.String(), How: p.cmd.ProcessState.Sys().(syscall.WaitStatus)}
}

// EndError: the program has ended, and what it was given is not stored.
type EndError struct {
	Who  string
	How  syscall.WaitStatus // of success: it had not read everything
	Held bool               // the target was held for it
}

func (e *EndError) Error() string {
	how := ""
	switch {
	case e.How.Signaled():
		how = fmt.Sprintf("%s was ended by %s", e.Who, unix.SignalName(e.How.Signal()))
	case e.How.ExitStatus() != 0:
		how = fmt.Sprintf("%s ended with exit status %d", e.Who, e.How.ExitStatus())
	default:
		how = fmt.Sprintf("%s ended with exit status 0 before it had read everything, which it can't have stored then", e.Who)
	}
	if e.Held {
		how += "; the target runs on"
	}
	return how
}

// Status is the exit status that tells of it.
func (e *EndError) Status() int {
	switch {
	case e.How.Signaled():
		return 128 + int(e.How.Signal())
	case e.How.ExitStatus() != 0:
		return e.How.ExitStatus()
	}
	return cli.StatusOwn
}

// StartError: the program can't be run.
type StartError struct {
	Name   string
	Status int
	Err    error
}

func startError(name string, err error) *StartError {
	var found *exec.Error
	if errors.As(err, &found) {
		err = found.Err
	}
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	e := &StartError{Name: name, Status: statusCantRun, Err: err}
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		e.Status = statusNotFound
	}
	return e
}

func (e *StartError) Error() string { return fmt.Sprintf("%s can't be run: %v", e.Name, e.Err) }

func (e *StartError) Unwrap() error { return e.Err }
