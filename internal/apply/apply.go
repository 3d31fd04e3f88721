// Package apply restores a process tree from a stream that package judge accepted. It
// has the order of the steps; packages task, memory and files carry them out.
package apply

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"sync"
	"time"

	"ckpt/internal/cli"
	"ckpt/internal/ends"
	"ckpt/internal/files"
	"ckpt/internal/judge"
	"ckpt/internal/memory"
	"ckpt/internal/mounts"
	"ckpt/internal/move"
	"ckpt/internal/netns"
	"ckpt/internal/object"
	"ckpt/internal/objhash"
	"ckpt/internal/proc"
	"ckpt/internal/puppet"
	"ckpt/internal/sys"
	"ckpt/internal/task"
	"ckpt/stream"
	"ckpt/stream/record"
)

// Options are what the user asks for.
type Options struct {
	PIDs     string // PIDsAuto, PIDsKeep or PIDsNamespace
	Detach   bool   // leave when the program runs
	PIDFile  string // write the root's process id there
	Check    bool   // only judge the stream
	Prepared bool   // the tree runs when the other side of a move says so, to which it talks on Stdout
	Stdout   *os.File
	target   *move.Target
	Session  string // judge.SessionNew or judge.SessionInherit
	Clock    string // judge.ClockAuto, ClockKeep or ClockHost
	CPU      judge.CPUPolicy
	Running  func() // called when the program is about to run: from now on signals are for it
	Policies files.Policies
	Stdio    files.Stdio
	Ends     *ends.Decisions
	Net      *netns.Decisions
	Cgroups  task.CgroupPolicy
	Root     string                           // a folder that takes the place of the tree's root file system
	Note     func(format string, args ...any) // what the user should know
	Step     func(format string, args ...any) // what -v shows
}

// Run restores the stream from in. Unless told to detach, it waits for the program and
// returns its exit status as a shell would.
func Run(ctx context.Context, o Options, in *os.File) (status int, err error) {
	if err := proc.CheckKernel(); err != nil {
		return 0, &judge.Refused{Reasons: []error{err}}
	}
	if o.Prepared && !isInit() && !isBeside() {
		return prepared(ctx, &o, in, func() (int, error) { return runHere(ctx, &o, in) })
	}
	return runHere(ctx, &o, in)
}

func runHere(ctx context.Context, o *Options, in *os.File) (status int, err error) {
	switch {
	case isInit(), isBeside():
		return runInside(ctx, o, in)
	}
	sys.GrowPipes(in)
	first, root := peek(in)
	switch {
	case root == initPID:
		return aroundInit(ctx, o, first, in)
	case o.PIDs == PIDsNamespace, o.PIDs == PIDsAuto && !sys.MayChooseIDs() && sys.MayHaveUserNamespace():
		return apart(ctx, o, first, in)
	}
	return restore(ctx, o, newBuilder(o, stream.NewReaderAfter(bytes.NewReader(first), in), in), newSupervisor(o))
}

// initPID is the process id of the first process of a pid namespace.
const initPID = 1

// peek reads HEADER and returns its bytes and the root that it names. If it is not as it
// should be, who reads it again will say so.
func peek(in *os.File) (first []byte, root int) {
	var read bytes.Buffer
	var h record.Header
	rec, err := stream.NewReader(io.TeeReader(in, &read)).Next()
	if err == nil && rec.Type == record.TypeHeader && rec.Decode(&h) == nil {
		root = h.RootPID
	}
	return read.Bytes(), root
}

// runInside is Run in the init of a pid namespace, or beside that.
func runInside(ctx context.Context, o *Options, in *os.File) (status int, err error) {
	l, head, ctx, err := newLink(ctx, o)
	if err != nil {
		return 0, err
	}
	b := newBuilder(o, stream.NewReaderAfter(head, in), in)
	b.files.Apart, b.own, b.link = true, l.own, l
	b.mounts.Apart = !l.beside
	return restore(ctx, o, b, l)
}

func newBuilder(o *Options, r *stream.Reader, in *os.File) *builder {
	b := &builder{reader: r, more: o.Prepared, input: int(in.Fd()), cgroups: o.Cgroups, note: o.Note, step: o.Step,
		puppets: map[int]*puppet.Puppet{}, spaces: map[uint64]*memory.Restorer{}, spaceTasks: map[uint64]int{}}
	b.files = &files.Restorer{Restart: &object.Restart{Hash: objhash.New[object.Object](), Note: o.Note}, Policies: o.Policies, Stdio: o.Stdio, Ends: o.Ends, Checking: o.Check,
		Lives: func(pid int) bool { return b.model.ByPID[pid] != nil }, Owns: func(uid, gid uint32) bool { return b.model.Owns(uid, gid) }, Pair: b.socketPair, Call: b.sockCall}
	b.mounts = &mounts.Restorer{Owns: b.files.Owns, Users: sync.OnceValue(func() []*sys.FSIdentity { return b.model.Ordinary() }), Note: o.Note, Decided: o.Ends.Mount, Root: o.Root, Checking: o.Check}
	b.files.MadeDev = b.mounts.MadeDev
	b.objects = judge.Objects(b.files, b.mounts.Kinds())
	if o.PIDs == PIDsNew {
		b.newIDs = new(judge.NewIDs)
	}
	return b
}

func restore(ctx context.Context, o *Options, b *builder, k keeper) (status int, err error) {
	// The thread that makes the tasks is their tracer and parent. It is never
	// unlocked: the parent-death signal of the stub is tied to it.
	runtime.LockOSThread()
	wait, err := b.run(ctx, o, k)
	if err != nil {
		return 0, errors.Join(err, b.discard())
	}
	if !wait {
		return 0, nil
	}
	return k.wait()
}

// manyThreads is the number of threads from which on a restore is dominated by calls
// and not by data.
const manyThreads = 32

// run builds the tree and lets it go. It reports whether there is something to wait for.
func (b *builder) run(ctx context.Context, o *Options, k keeper) (wait bool, err error) {
	var next *stream.Record
	if b.model, next, err = judge.Read(b.reader, b.newIDs); err != nil {
		return false, err
	}
	if err := b.makeMounts(); err != nil {
		return false, err
	}
	if err := b.fillNetwork(o); err != nil {
		return false, err
	}
	b.plan, err = judge.Here(b.model, &judge.Restore{Files: b.files, Objects: b.objects, Cgroups: o.Cgroups, Session: o.Session, Clock: o.Clock, CPU: o.CPU, Detach: o.Detach, Note: o.Note, Own: b.own})
	if err != nil {
		return false, err
	}
	if b.newIDs != nil {
		b.note("%s", b.newIDs.Told(b.model.Tasks))
	}
	b.noteSpaces()
	if b.stub, err = b.startStub(len(b.model.ByTID) >= manyThreads); err != nil {
		return false, err
	}
	if b.xarea, err = checkCPU(b.model, o.CPU, b.stub); err != nil {
		return false, err
	}
	if o.Check {
		err := errors.Join(b.readOut(next), b.discard())
		if err == nil {
			b.note("the stream can be restored here")
		}
		return false, err
	}
	defer b.patiently(ctx, o)()
	if err := b.build(ctx, next); err != nil {
		return false, err
	}
	return b.start(ctx, k)
}

// patience is how long after a signal it may take until what was made is taken back. Some of
// it is in calls that wait for the input.
const patience = 10 * time.Second

// patiently has a signal end the program no sooner than what was made is taken back. A second
// one ends it at once.
func (b *builder) patiently(ctx context.Context, o *Options) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		o.Running()
		time.AfterFunc(patience, func() {
			b.note("what a restore had made may be left, because it could not be taken back within %v", patience)
			os.Exit(cli.StatusOwn)
		})
	})
}

// startStub returns the puppet from which all others come.
func (b *builder) startStub(sameCPU bool) (*puppet.Puppet, error) {
	if b.model.IsInit() {
		return puppet.Adopt(b.model.Tasks[0].PID, sameCPU)
	}
	return puppet.StartStub(sameCPU)
}

// readOut reads a stream to its end, to make sure that it is complete and that its data
// has no record that would stop a restore.
func (b *builder) readOut(next *stream.Record) error {
	if err := b.reader.At(judge.Known(next, &b.model.Header)); err != nil {
		return err
	}
	for rec, err := range b.reader.Records(context.Background()) {
		if err == nil {
			err = b.reader.At(judge.Known(rec, &b.model.Header))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// start gives the tasks the last of their state and lets them run.
func (b *builder) start(ctx context.Context, k keeper) (wait bool, err error) {
	all, err := b.resources()
	if err != nil {
		return false, err
	}
	if err := b.lock(); err != nil { // from now on the tasks close no descriptor
		return false, err
	}
	err = k.announce(b.model.Tasks[0].PID)
	if err == nil {
		err = k.allow(ctx, b.model.Header.Checkpoint)
	}
	if err == nil {
		wait, err = b.letRun(ctx, k, all)
	}
	if err != nil {
		return false, errors.Join(err, k.close())
	}
	return wait, nil
}

// letRun lets the tasks run.
func (b *builder) letRun(ctx context.Context, k keeper, all []ready) (wait bool, err error) {
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	if err := errors.Join(b.objects.Commit(), b.mounts.Finish()); err != nil {
		return false, err
	}
	group := 0
	if b.files.UsesTerminal() {
		group = b.foreground()
	}
	if err := k.begin(group, b.files.Termios); err != nil {
		return false, err
	}
	// Drop the references before the program runs: it must not find a pipe open that
	// only we have.
	if err := b.close(); err != nil {
		return false, err
	}
	err = b.prepare(all)
	if err == nil {
		err = b.files.Certain()
	}
	if err == nil {
		err = b.release(k, all)
	}
	if err != nil {
		return false, err
	}
	root := b.model.Tasks[0]
	b.step("pid %d (%s) runs, with %d threads in %d processes", root.PID, root.Comm, len(all), len(b.model.Tasks))
	clear(b.puppets)
	return k.runs()
}
