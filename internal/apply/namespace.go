package apply

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/cli"
	"ckpt/internal/judge"
	"ckpt/internal/proc"
	"ckpt/internal/puppet"
	"ckpt/internal/sys"
	"ckpt/stream"
)

// Which process ids the tree gets.
const (
	PIDsAuto      = "auto"      // keep, or namespace if this user may not choose ids
	PIDsKeep      = "keep"      // its own, here
	PIDsNamespace = "namespace" // its own, in a pid namespace of its own
	PIDsNew       = "new"       // others, which are free here
)

// apart restores the stream in a pid namespace of its own. The init of that, which is this
// program again, does the work, so that whatever looks at or names a process sees what the
// restored programs will see. What stays here is in their place for the shell: it has the
// terminal and gets the signals.
func apart(ctx context.Context, o *Options, first []byte, in *os.File) (status int, err error) {
	runtime.LockOSThread() // the init is killed when this thread ends
	own, err := caps.Own()
	if err != nil {
		return 0, err
	}
	user := !caps.Set(own.CapEff).Has(caps.Of(unix.CAP_SYS_ADMIN))
	if user && !sys.MayHaveUserNamespace() {
		missing := own.Need(caps.Of(unix.CAP_SYS_ADMIN), "", "make a pid namespace, because this user can't have a user namespace either")
		return 0, &judge.Refused{Reasons: missing}
	}
	head, b, err := readHead(o, first, in)
	if err != nil {
		return 0, err
	}
	h := &host{supervisor: newSupervisor(o)}
	err = h.start(head, b, initSetting{user: user, groups: own.Groups}, func(env []string) error {
		h.init, err = puppet.StartInit(os.Args, env, user)
		return err
	})
	if err != nil {
		return 0, err
	}
	o.Step("in a pid namespace, whose init is pid %d", h.init)
	if user {
		o.Note("the program is restored in a user namespace, because CAP_SYS_ADMIN is missing for a pid namespace alone: in there, programs like sudo give no rights, and files of other users and supplementary groups seem to be nobody's")
	}
	return h.run(ctx)
}

// start starts the one inside, which gets the description from head.
func (h *host) start(head *os.File, b *builder, setting initSetting, do func(env []string) error) error {
	var err error
	if setting.first, err = firstFree(b.allIDs()); err != nil {
		return errors.Join(err, head.Close())
	}
	if h.line, setting.line, err = newLine(); err != nil {
		return errors.Join(err, head.Close())
	}
	setting.head = int(head.Fd())
	err = do(append(os.Environ(), setting.String()))
	return errors.Join(err, os.NewSyscallError("close", unix.Close(int(setting.line))), head.Close())
}

// readHead reads the description, of which first has been read, and returns it in a file
// that the one inside inherits. What follows it stays in the input.
func readHead(o *Options, first []byte, in *os.File) (*os.File, *builder, error) {
	fd, err := unix.MemfdCreate("description", 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("memfd_create", err)
	}
	head := os.NewFile(uintptr(fd), "description")
	w := bufio.NewWriter(head)
	b := newBuilder(o, stream.NewReader(io.TeeReader(io.MultiReader(bytes.NewReader(first), in), w)), in)
	b.model, _, err = judge.Read(b.reader, nil)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		_, err = head.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, nil, errors.Join(err, head.Close())
	}
	return head, b, nil
}

// allIDs returns every process id that the tree may need.
func (b *builder) allIDs() map[int]bool {
	ids := map[int]bool{}
	for _, t := range b.model.Tasks {
		ids[t.PID], ids[t.SID], ids[t.PGID] = true, true, true
	}
	for tid := range b.model.ByTID {
		ids[tid] = true
	}
	for _, rec := range b.model.Objects {
		for _, pid := range b.objects.Names(rec) {
			ids[pid] = true
		}
	}
	return ids
}

// roomForIDs is more than the ids that all threads and helpers of a restore take.
const roomForIDs = 2048

// firstFree returns the id from which on the threads and helpers of a restore get theirs,
// so that none has one that the tree needs: the one above all of those, or else where there
// is the most room between two.
func firstFree(needed map[int]bool) (int, error) {
	end, err := proc.ReadSysctl("kernel/pid_max")
	if err != nil {
		return 0, err
	}
	taken := []int{judge.ReservedPIDs - 1, int(min(end, math.MaxInt32))}
	for id := range needed {
		if id >= judge.ReservedPIDs && id < taken[1] {
			taken = append(taken, id)
		}
	}
	slices.Sort(taken)
	last := len(taken) - 1
	if first := taken[last-1] + 1; first+roomForIDs <= taken[last] {
		return first, nil
	}
	best := 0
	for i := range last {
		if taken[i+1]-taken[i] > taken[best+1]-taken[best] {
			best = i
		}
	}
	return taken[best] + 1, nil
}

// host is the supervisor outside of the namespace.
type host struct {
	line
	init int      // the process id of the one inside
	root int      // that of the root, if the one inside is not its parent
	ran  bool     // the program runs
	net  *network // what of the root's network namespace is to be connected
	*supervisor
}

// run does what the init asks for, until that ends, and returns its exit status.
func (h *host) run(ctx context.Context) (int, error) {
	h.pass = func(sig unix.Signal) { _ = h.say(saySignal, []byte{byte(sig)}, 0) } // it may just have ended
	heard := make(chan said)
	go func() {
		defer close(heard)
		for {
			m, err := h.hear()
			if err != nil {
				return
			}
			heard <- m
		}
	}()
	ended, signals := ctx.Done(), h.signals
	if h.root != 0 { // the one inside will not stay: they wait here until it has ended
		signals = nil
	}
	for {
		select {
		case <-ended:
			ended = nil
			h.o.Running() // the init takes back what it made
			if s := new(cli.Signalled); errors.As(context.Cause(ctx), &s) {
				h.pass(s.Signal)
			}
		case sig := <-signals:
			h.pass(sig.(unix.Signal))
		case m, ok := <-heard:
			if !ok {
				return h.reap()
			}
			if done, err := h.answer(ctx, m); done || err != nil {
				return 0, err
			}
		}
	}
}

// answer does what a message of the init asks for. It reports whether all is done.
func (h *host) answer(ctx context.Context, m said) (done bool, err error) {
	switch m.kind {
	case sayRoot:
		err = h.announce(m.pid)
	case sayAllow:
		err = h.allow(ctx, string(m.text))
	case sayLoosen:
		err = h.loosen()
	case sayBegin:
		err = h.begin(0, nil)
	case sayLend:
		err = h.begin(m.pid, m.text)
	case sayNet:
		err = h.connectNetwork()
	case sayRuns:
		h.ran = true
		if h.root != 0 { // when the one inside has ended
			return false, nil
		}
		wait, err := h.runs()
		return !wait, err
	case sayStopped:
		h.stopToo()
		return false, nil
	}
	var text []byte
	if err != nil {
		text = []byte(err.Error())
	}
	return false, h.say(sayDone, text, 0)
}

// reap waits for the init and returns its exit status, which is that of the program, or
// that of a ckpt-apply which failed.
func (h *host) reap() (int, error) {
	for {
		var ws unix.WaitStatus
		_, err := unix.Wait4(h.init, &ws, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, errors.Join(os.NewSyscallError("wait4", err), h.close())
		case h.root != 0:
			return h.besides(ws)
		case ws.Signaled():
			return 0, errors.Join(fmt.Errorf("the init of the pid namespace, and with it all that was in there, was ended by %s", unix.SignalName(ws.Signal())), h.close())
		default:
			return ws.ExitStatus(), h.close()
		}
	}
}
