package apply

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/internal/files"
	"ckpt/internal/memory"
	"ckpt/internal/objhash"
	"ckpt/internal/proc"
	"ckpt/internal/task"
	"ckpt/internal/tracee"
	"ckpt/stream"
)

// builder makes a process tree of a model. Nothing of the tree runs before all
// of it stands, and all of it dies with us until then.
type builder struct {
	model   *model
	reader  *stream.Reader
	hash    *objhash.Hash[objhash.Object]
	files   *files.Restorer
	cgroups task.CgroupPolicy
	note    func(format string, args ...any)
	step    func(format string, args ...any)

	stub   *tracee.Puppet
	root   *tracee.Puppet
	memory *memory.Restorer
}

// discard kills what was made and drops every reference.
func (b *builder) discard() error {
	var errs []error
	for _, p := range []*tracee.Puppet{b.root, b.stub} {
		if p != nil {
			errs = append(errs, p.Tracee().Kill())
		}
	}
	b.root, b.stub = nil, nil
	return errors.Join(append(errs, b.close())...)
}

// close drops what is held for building.
func (b *builder) close() error {
	var err error
	if b.memory != nil {
		err = b.memory.Close()
		b.memory = nil
	}
	return errors.Join(err, b.hash.Close())
}

// build makes everything up to the moment of letting go. next is the first
// record behind the description.
func (b *builder) build(next *stream.Record) error {
	t := b.model.tasks[0]
	for _, rec := range b.model.objects {
		if err := b.object(rec); err != nil {
			return err
		}
	}
	b.step("%d objects open", b.hash.Len())
	if err := b.makeRoot(t); err != nil {
		return err
	}
	b.memory = &memory.Restorer{PID: t.PID, Puppet: b.root, Inode: b.files.Open}
	if err := b.memory.Map(t.vmas); err != nil {
		return err
	}
	if err := b.memory.Advise(); err != nil {
		return err
	}
	b.step("pid %d has its %d mappings", t.PID, len(t.vmas))
	if err := b.bulk(next); err != nil {
		return err
	}
	b.step("%d bytes of contents in place", b.reader.Totals().DataBytes)
	if err := b.finishObjects(); err != nil {
		return err
	}
	if err := b.memory.Finish(); err != nil {
		return err
	}
	return b.raiseAndInstall(t)
}

// object restores what a record describes and puts it in the hash.
func (b *builder) object(rec *stream.Record) error {
	if rec.Type != stream.TypeShmem {
		return b.files.Object(rec)
	}
	var o stream.Object
	if err := rec.Decode(&o); err != nil {
		return err
	}
	s, err := memory.RestoreShmem(rec)
	if err != nil {
		return err
	}
	return b.hash.Add(o.Objref, rec.Type, s)
}

// makeRoot makes the root task: a child of ours, with its own process id.
func (b *builder) makeRoot(t *taskModel) error {
	maps, err := proc.ReadMaps(b.stub.Tracee().PID)
	if err != nil {
		return err
	}
	occupied := memory.Occupied(t.vmas)
	for _, m := range maps {
		occupied = append(occupied, tracee.Range{Addr: m.Start, Len: m.Len()})
	}
	place, ok := tracee.Hole(occupied, tracee.PuppetBytes)
	if !ok {
		return fmt.Errorf("pid %d: its address space is too full to restore it", t.PID)
	}
	if err := b.stub.Settle(place.Addr); err != nil {
		return err
	}
	b.root, err = b.stub.Clone(t.PID, unix.CLONE_PARENT, 0)
	if errors.Is(err, unix.EEXIST) {
		return &Refused{append(pidTaken(t.PID), fmt.Errorf("process id %d was taken meanwhile", t.PID))[:1]}
	}
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("choosing process id %d takes CAP_CHECKPOINT_RESTORE or root: %w", t.PID, err)
	}
	if err != nil {
		return err
	}
	err = b.stub.Tracee().Kill()
	b.stub = nil
	return errors.Join(err, b.root.CloseAll())
}

// bulk puts all data in its place. The stream must be whole to its end.
func (b *builder) bulk(rec *stream.Record) error {
	for {
		var err error
		switch rec.Type {
		case stream.TypeEnd:
			if _, err := b.reader.Next(); err != io.EOF {
				return err
			}
			return nil
		case stream.TypePages:
			err = b.memory.Fill(rec, b.reader)
		case stream.TypeContent:
			err = b.files.Fill(rec, b.reader.Data())
		case stream.TypePipeData:
			err = b.files.FillPipe(rec, b.reader.Data())
		default:
			if rec.Flags&stream.Critical != 0 {
				err = errors.New("this version does not know the record's type, and the restore would not be complete without it")
			}
		}
		if err != nil {
			return b.recordError(rec, err)
		}
		if rec, err = b.reader.Next(); err == io.EOF {
			err = stream.ErrTruncated
		}
		if err != nil {
			return err
		}
	}
}

func (b *builder) recordError(rec *stream.Record, err error) error {
	var re *stream.RecordError
	var abort *stream.AbortError
	if errors.As(err, &re) || errors.As(err, &abort) {
		return err
	}
	return &stream.RecordError{Index: b.reader.Totals().Records - 1, Type: rec.Type, Offset: b.reader.Offset(), Err: err}
}

func (b *builder) finishObjects() error {
	refs := make([]uint64, 0, len(b.model.defined))
	for ref, typ := range b.model.defined {
		if typ == stream.TypeReg {
			refs = append(refs, ref)
		}
	}
	return b.files.Finish(refs)
}

// raiseAndInstall gives the task its descriptors, for which its limit may be
// too low as yet.
func (b *builder) raiseAndInstall(t *taskModel) error {
	if n := len(t.fds); n > 0 {
		lim := unix.Rlimit{}
		if err := unix.Prlimit(t.PID, unix.RLIMIT_NOFILE, nil, &lim); err == nil {
			if want := uint64(t.fds[n-1].FD) + 8; want > lim.Cur {
				raised := unix.Rlimit{Cur: min(want, lim.Max), Max: lim.Max}
				_ = unix.Prlimit(t.PID, unix.RLIMIT_NOFILE, &raised, nil) // placing the descriptor will say if it was too low
			}
		}
	}
	return b.files.Install(b.root, t.fds, t.locks)
}

// resources gives the task what is neither memory nor descriptors, and returns
// what it is to be let go with.
func (b *builder) resources(t *taskModel) (*task.Final, error) {
	r := &task.Restorer{PID: t.PID, Puppet: b.root, Inode: b.files.Open, Note: b.note, Cgroups: b.cgroups}
	for i := range task.Resources {
		res := &task.Resources[i]
		rec := t.resources[res.Type]
		if rec == nil || res.Restore == nil {
			continue
		}
		if err := res.Restore(r, rec); err != nil {
			return nil, err
		}
	}
	return &r.Final, nil
}

// release lets the root run.
func (b *builder) release(t *taskModel, final *task.Final) error {
	xstate, err := fitXState(b.root, final.XState)
	if err != nil {
		return err
	}
	return b.root.Release(final.Regs, xstate, final.Mask, t.StopSig != 0)
}

// fitXState brings the xsave area to this kernel's size. What is cut off or
// added belongs to components that are not in use.
func fitXState(p *tracee.Puppet, xstate []byte) ([]byte, error) {
	if len(xstate) == 0 {
		return nil, nil
	}
	own, err := p.Tracee().XState()
	if err != nil {
		return nil, err
	}
	fitted := make([]byte, len(own))
	copy(fitted, xstate)
	return fitted, nil
}

func writePIDFile(path string, pid int) error {
	if path == "" {
		return nil
	}
	if err := os.WriteFile(path, fmt.Appendf(nil, "%d\n", pid), 0o644); err != nil {
		return fmt.Errorf("pid file: %w", err)
	}
	return nil
}
