package apply

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/depot"
	"ckpt/internal/files"
	"ckpt/internal/judge"
	"ckpt/internal/memory"
	"ckpt/internal/mounts"
	"ckpt/internal/object"
	"ckpt/internal/puppet"
	"ckpt/internal/task"
	"ckpt/stream"
	"ckpt/stream/record"
)

// builder makes a process tree from a model. No part of the tree runs before all of it
// is made, and until then all of it dies if we do.
type builder struct {
	link    *initLink // nil where the user is
	netOut  bool      // the network namespace is to be connected with the host's
	model   *judge.Model
	plan    *judge.Plan
	reader  *stream.Reader
	input   int  // the descriptor of the stream
	more    bool // something may follow the stream
	objects *object.Set
	depot   *depot.Depot // where the objects are open
	files   *files.Restorer
	mounts  *mounts.Restorer
	cgroups task.CgroupPolicy
	note    func(format string, args ...any)
	step    func(format string, args ...any)

	newIDs     *judge.NewIDs // nil: the tasks keep theirs
	own        *caps.Process // nil for that of this process
	stub       *puppet.Puppet
	maker      *maker
	puppets    map[int]*puppet.Puppet // by thread id
	helpers    []int
	spaces     map[uint64]*memory.Restorer // by the objref of the MM
	spaceTasks map[uint64]int              // index of the task in which an MM is restored
	ids        map[int]bool                // needed process ids, see needed
	headless   int                         // the root, if its first thread has ended
	born       int                         // how many tasks have had their children made
	xarea      *xarea
}

// discard kills the tasks that were made, and drops every reference.
func (b *builder) discard() error {
	var errs []error
	var leaders []*puppet.Puppet
	for _, p := range b.puppets {
		_ = unix.Kill(p.Tracee().PID, unix.SIGKILL)
	}
	for _, p := range b.puppets {
		if t := p.Tracee(); b.isInit(t.PID) {
			continue
		} else if t.TID == t.PID {
			leaders = append(leaders, p) // a leader's end is reported last
		} else {
			errs = append(errs, t.AwaitEnd())
		}
	}
	if b.stub != nil && !b.isInit(b.stub.Tracee().PID) && !slices.Contains(leaders, b.stub) {
		leaders = append(leaders, b.stub)
	}
	for _, p := range leaders {
		errs = append(errs, p.Tracee().Kill())
	}
	b.stub = nil
	clear(b.puppets)
	if b.headless != 0 { // its other threads were reaped
		_, err := unix.Wait4(b.headless, nil, 0, nil)
		errs = append(errs, os.NewSyscallError("wait4", err))
	}
	return errors.Join(append(errs, b.objects.Undo(), b.close())...)
}

// isInit reports whether a process is the init of our pid namespace. We can't kill that, but
// it dies with us.
func (b *builder) isInit(pid int) bool { return b.model.IsInit() && pid == b.model.Tasks[0].PID }

// close drops everything that was open only for building.
func (b *builder) close() error {
	var errs []error
	for _, r := range b.spaces {
		errs = append(errs, r.Close())
	}
	clear(b.spaces)
	b.files.Forget()
	// The depot first: it ends each holder at once, instead of closing file by file.
	return errors.Join(append(errs, b.depot.Close(), b.objects.Hash.Close(), b.mounts.Close())...)
}

// build makes everything up to the point where the tasks can be let go. next is the
// first record behind the description. When the context ends, so does this, soon enough
// to take back what was made.
func (b *builder) build(ctx context.Context, next *stream.Record) error {
	if err := b.settle(); err != nil {
		return err
	}
	var err error
	if b.depot, err = depot.New(b.needed, b.files.Kept()); err != nil {
		return err
	}
	b.files.Depot = b.depot
	if err := b.widenIPC(); err != nil {
		return err
	}
	b.files.OpenAhead(b.model.Objects)
	for _, rec := range b.model.Objects {
		if err := errors.Join(context.Cause(ctx), b.objects.Make(rec)); err != nil {
			return err
		}
	}
	for _, rec := range b.model.Parts {
		if err := b.objects.Add(rec); err != nil {
			return err
		}
	}
	if err := b.endMaker(); err != nil {
		return err
	}
	b.step("%d objects open, with the help of %d processes", b.objects.Hash.Len(), b.depot.Holders())
	if err := b.makeRoot(); err != nil {
		return err
	}
	if err := b.bulk(ctx, next); err != nil {
		return err
	}
	if err := b.birthsBefore(len(b.model.Tasks)); err != nil {
		return err
	}
	b.step("%d processes made, %d bytes of contents in place", len(b.model.Tasks), b.reader.Totals().DataBytes)
	if err := b.objects.Complete(); err != nil {
		return err
	}
	for _, t := range b.model.Tasks {
		if n, ok := b.spaceTasks[t.Refs().MM]; !ok || b.model.Tasks[n] != t {
			continue
		}
		if err := b.spaces[t.Refs().MM].Finish(); err != nil {
			return err
		}
	}
	if err := b.objects.Seal(); err != nil {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	for _, do := range []func() error{b.groups, b.endHelpers, b.endZombies, b.makeThreads, b.install, b.settleIPC} {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

// bulk puts all data in its place. The stream must be complete.
func (b *builder) bulk(ctx context.Context, rec *stream.Record) error {
	for {
		var err error
		switch rec.Type {
		case record.TypeEnd:
			if b.more {
				return nil
			}
			if _, err := b.reader.Next(); err != io.EOF {
				return err
			}
			return nil
		case record.TypePages, record.TypeInherit:
			err = b.pages(rec)
		default:
			switch {
			case b.objects.Takes(rec.Type):
				err = b.objects.Fill(rec, b.reader.Data())
			case record.Lookup(rec.Type) != nil:
				err = fmt.Errorf("%w: it does not belong there", stream.ErrCorrupt)
			default:
				err = judge.Known(rec, &b.model.Header)
			}
		}
		if err != nil {
			return b.recordError(rec, err)
		}
		if err := b.await(ctx); err != nil {
			return err
		}
		if rec, err = b.reader.Next(); err == io.EOF {
			err = stream.ErrTruncated
		}
		if err == nil && b.newIDs != nil {
			err = b.reader.At(b.newIDs.Change(rec))
		}
		if err != nil {
			return err
		}
	}
}

// await waits until there is something to read, or the context ends. Between two records
// nothing is read ahead.
func (b *builder) await(ctx context.Context) error {
	const pause = 50 // ms
	for ctx.Err() == nil {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(b.input), Events: unix.POLLIN}}, pause)
		if n > 0 || err != nil && err != unix.EINTR {
			return nil // also at its end, which reading tells
		}
	}
	return context.Cause(ctx)
}

func (b *builder) pages(rec *stream.Record) error {
	r, err := b.spaceOf(rec)
	if err != nil {
		return err
	}
	if rec.Type == record.TypeInherit {
		return r.Inherit(rec)
	}
	return r.Fill(rec, b.reader)
}

func (b *builder) recordError(rec *stream.Record, err error) error {
	var re *stream.RecordError
	var abort *stream.AbortError
	if errors.As(err, &re) || errors.As(err, &abort) {
		return err
	}
	return &stream.RecordError{Index: b.reader.Totals().Records - 1, Type: rec.Type, Offset: b.reader.Offset(), Err: err}
}

// install fills every descriptor table, by way of the first thread that has it.
func (b *builder) install() error {
	if err := b.tables(func(p *puppet.Puppet, t *judge.Table) error { return b.files.Empty(p, t.FDs) }); err != nil {
		return err
	}
	if err := b.objects.Attach(b); err != nil {
		return err
	}
	if err := b.tables(func(p *puppet.Puppet, t *judge.Table) error { return b.files.Install(p, t.FDs) }); err != nil {
		return err
	}
	return b.files.InstallLate()
}

// Puppet returns the thread with an id, or nil.
func (b *builder) Puppet(tid int) *puppet.Puppet { return b.puppets[tid] }

// tables calls do with the first thread of each descriptor table.
func (b *builder) tables(do func(p *puppet.Puppet, t *judge.Table) error) error {
	done := map[uint64]bool{}
	for _, t := range b.model.Tasks {
		for _, th := range t.Threads {
			ref := th.Refs.Files
			if done[ref] {
				continue
			}
			done[ref] = true
			if err := do(b.puppets[th.TID], b.model.Tables[ref]); err != nil {
				return err
			}
		}
	}
	return nil
}

// lock takes the locks of every descriptor table again: each in the process that owned
// it, if that has the table; otherwise in the first one that has it. The owners come
// first, because a lock of a description that several tables have is recorded with
// each of them.
func (b *builder) lock() error {
	for _, owners := range []bool{true, false} {
		done := map[uint64]bool{}
		for _, t := range b.model.Tasks {
			for _, th := range t.Living() {
				if done[th.Refs.Files] {
					continue
				}
				done[th.Refs.Files] = true
				table := b.model.Tables[th.Refs.Files]
				for i := range table.Locks {
					l := &table.Locks[i]
					by := b.tableUser(th, l.Owner)
					if (by.PID == l.Owner) != owners {
						continue
					}
					if err := b.files.Lock(b.puppets[by.TID], l); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// tableUser returns a thread of process pid that has the same table as th, or else th.
func (b *builder) tableUser(th *judge.Thread, pid int) *judge.Thread {
	if t := b.model.ByPID[pid]; t != nil {
		for _, other := range t.Living() {
			if other.Refs.Files == th.Refs.Files {
				return other
			}
		}
	}
	return th
}
