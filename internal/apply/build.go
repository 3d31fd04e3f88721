package apply

import (
	"errors"
	"io"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/depot"
	"ckpt/internal/files"
	"ckpt/internal/judge"
	"ckpt/internal/memory"
	"ckpt/internal/objhash"
	"ckpt/internal/task"
	"ckpt/internal/tracee"
	"ckpt/stream"
)

// builder makes a process tree of a model. Nothing of the tree runs before all
// of it stands, and all of it dies with us until then.
type builder struct {
	model   *judge.Model
	plan    *judge.Plan
	reader  *stream.Reader
	hash    *objhash.Hash[objhash.Object]
	depot   *depot.Depot // where the objects of the hash are open
	files   *files.Restorer
	cgroups task.CgroupPolicy
	note    func(format string, args ...any)
	step    func(format string, args ...any)

	stub    *tracee.Puppet
	maker   *maker
	puppets map[int]*tracee.Puppet // by thread id
	helpers []int
	spaces  map[uint64]*memory.Restorer // by the MM's objref
	owners  map[uint64]int              // which task an MM is restored in
	ids     map[int]bool                // process ids, see needed
	born    int                         // whose children are made
	shared  []memory.Object
}

// discard kills what was made and drops every reference.
func (b *builder) discard() error {
	var errs []error
	var leaders []*tracee.Puppet
	for _, p := range b.puppets {
		_ = unix.Kill(p.Tracee().PID, unix.SIGKILL)
	}
	for _, p := range b.puppets {
		if t := p.Tracee(); t.TID == t.PID {
			leaders = append(leaders, p) // their end is told last
		} else {
			errs = append(errs, t.AwaitEnd())
		}
	}
	if b.stub != nil && !slices.Contains(leaders, b.stub) {
		leaders = append(leaders, b.stub)
	}
	for _, p := range leaders {
		errs = append(errs, p.Tracee().Kill())
	}
	b.stub = nil
	clear(b.puppets)
	for _, obj := range b.shared {
		if o, ok := obj.(interface{ Undo() error }); ok {
			errs = append(errs, o.Undo())
		}
	}
	return errors.Join(append(errs, b.close())...)
}

// close drops what is held for building.
func (b *builder) close() error {
	var errs []error
	for _, r := range b.spaces {
		errs = append(errs, r.Close())
	}
	clear(b.spaces)
	// The depot first: it ends a holder at once, not each of its files.
	return errors.Join(append(errs, b.depot.Close(), b.hash.Close())...)
}

// build makes everything up to the moment of letting go. next is the first
// record behind the description.
func (b *builder) build(next *stream.Record) error {
	if err := b.settle(); err != nil {
		return err
	}
	var err error
	if b.depot, err = depot.New(b.needed); err != nil {
		return err
	}
	b.files.Depot = b.depot
	for _, rec := range b.model.Objects {
		if err := b.object(rec); err != nil {
			return err
		}
	}
	if err := b.endMaker(); err != nil {
		return err
	}
	b.step("%d objects open, with the help of %d processes", b.hash.Len(), b.depot.Holders())
	if err := b.makeRoot(); err != nil {
		return err
	}
	if err := b.bulk(next); err != nil {
		return err
	}
	if err := b.birthsBefore(len(b.model.Tasks)); err != nil {
		return err
	}
	b.step("%d processes made, %d bytes of contents in place", len(b.model.Tasks), b.reader.Totals().DataBytes)
	if err := b.finishObjects(); err != nil {
		return err
	}
	for _, t := range b.model.Tasks {
		if n, ok := b.owners[t.Refs().MM]; !ok || b.model.Tasks[n] != t {
			continue
		}
		if err := b.spaces[t.Refs().MM].Finish(); err != nil {
			return err
		}
	}
	for _, obj := range b.shared {
		if o, ok := obj.(interface{ Attached() error }); ok {
			if err := o.Attached(); err != nil {
				return err
			}
		}
	}
	if err := b.files.Seal(); err != nil {
		return err
	}
	for _, do := range []func() error{b.groups, b.endHelpers, b.endZombies, b.makeThreads, b.files.SetOwners, b.install} {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

// object restores what a record describes and puts it in the hash. What belongs
// to tasks is restored with them.
func (b *builder) object(rec *stream.Record) error {
	if rec.Type == stream.TypeFile || files.Find(rec.Type) != nil {
		return b.files.Object(rec)
	}
	kind := memory.FindObject(rec.Type)
	if kind == nil {
		return nil
	}
	var o stream.Object
	if err := rec.Decode(&o); err != nil {
		return err
	}
	obj, err := kind.Restore(rec, b.depot, b.note)
	if err != nil {
		return err
	}
	b.shared = append(b.shared, obj)
	return b.hash.Add(o.Objref, rec.Type, obj)
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
		case stream.TypePages, stream.TypeInherit:
			err = b.pages(rec)
		case stream.TypeContent:
			err = b.files.Fill(rec, b.reader.Data())
		case stream.TypePipeData:
			err = b.files.FillPipe(rec, b.reader.Data())
		case stream.TypeSockData:
			err = b.files.FillSocket(rec, b.reader.Data())
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

func (b *builder) pages(rec *stream.Record) error {
	r, err := b.spaceOwner(rec)
	if err != nil {
		return err
	}
	if rec.Type == stream.TypeInherit {
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

func (b *builder) finishObjects() error {
	refs := make([]uint64, 0, len(b.model.Defined))
	for ref, rec := range b.model.Defined {
		if files.Find(rec.Type) != nil {
			refs = append(refs, ref)
		}
	}
	return b.files.Finish(refs)
}

// install fills every descriptor table, through the first thread that has it.
func (b *builder) install() error {
	done := map[uint64]bool{}
	for _, t := range b.model.Tasks {
		for _, th := range t.Threads {
			ref := th.Refs.Files
			if done[ref] {
				continue
			}
			done[ref] = true
			table := b.model.Tables[ref]
			p := b.puppets[th.TID]
			if err := p.CloseAll(); err != nil {
				return err
			}
			if err := b.files.AddEpollTargets(p, table.Epolls); err != nil {
				return err
			}
			if err := b.files.Install(p, table.FDs); err != nil {
				return err
			}
		}
	}
	return b.files.InstallLate()
}

// lock takes the locks of every descriptor table, in the process that owned each
// where that has the table, and else in the first that has it. The owners come
// first: a lock of a description that others have, too, stands with each.
func (b *builder) lock() error {
	for _, owners := range []bool{true, false} {
		done := map[uint64]bool{}
		for _, t := range b.model.Tasks {
			for _, th := range t.Threads {
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

// tableUser returns a thread of a process that has the same table as th, or th.
func (b *builder) tableUser(th *judge.Thread, pid int) *judge.Thread {
	if t := b.model.ByPID[pid]; t != nil {
		for _, other := range t.Threads {
			if other.Refs.Files == th.Refs.Files {
				return other
			}
		}
	}
	return th
}
