package apply

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"ckpt/internal/files"
	"ckpt/internal/memory"
	"ckpt/internal/task"
	"ckpt/stream"
)

// model is all metadata of a stream, read and sorted, before anything is done.
type model struct {
	header  stream.Header
	objects []*stream.Record // what has an objref, in the stream's order
	defined map[uint64]*stream.Record
	tasks   []*taskModel // parents before their children
	byPID   map[int]*taskModel
	byTID   map[int]*threadModel
	spaces  map[uint64]*spaceModel // by the MM's objref
	tables  map[uint64]*tableModel // by the FDTABLE's
}

// taskModel is one process of it.
type taskModel struct {
	stream.Task
	parent    *taskModel
	children  []*taskModel
	threads   []*threadModel // the first is the leader; none of a zombie
	resources map[stream.Type]*stream.Record
}

// refs are what the first thread has; of a zombie, nothing.
func (t *taskModel) refs() stream.ThreadRefs {
	if len(t.threads) == 0 {
		return stream.ThreadRefs{}
	}
	return t.threads[0].Refs
}

// threadModel is one thread of a process.
type threadModel struct {
	stream.Thread
	of        *taskModel
	resources map[stream.Type]*stream.Record
}

// spaceModel is an address space.
type spaceModel struct {
	rec  *stream.Record
	vmas []stream.VMA
}

// tableModel is a descriptor table.
type tableModel struct {
	fds    []stream.FD
	locks  []stream.Lock
	epolls []stream.EpollTarget // of epolls in it, whose targets may be elsewhere
}

// readModel reads up to the first bulk record, or END, and returns that record.
func readModel(r *stream.Reader) (*model, *stream.Record, error) {
	m := &model{defined: map[uint64]*stream.Record{}, byPID: map[int]*taskModel{}, byTID: map[int]*threadModel{},
		spaces: map[uint64]*spaceModel{}, tables: map[uint64]*tableModel{}}
	first, err := r.Next()
	if err != nil {
		return nil, nil, err
	}
	if err := first.Decode(&m.header); err != nil {
		return nil, nil, err
	}
	if m.header.Stage != stream.StageShared {
		return nil, nil, &Refused{[]error{fmt.Errorf("the stream is as ckpt-collect wrote it (stage %q); it must pass through ckpt-dedup while the target is held", m.header.Stage)}}
	}
	for {
		rec, err := r.Next()
		if err == io.EOF {
			err = stream.ErrTruncated
		}
		if err != nil {
			return nil, nil, err
		}
		if rec.Type == stream.TypeEnd || rec.Flags&stream.Bulk != 0 {
			m.sort()
			return m, rec, nil
		}
		if err := m.add(rec); err != nil {
			return nil, nil, &stream.RecordError{Index: r.Totals().Records - 1, Type: rec.Type, Offset: r.Offset(), Err: err}
		}
	}
}

// sort brings mappings and descriptors into ascending order.
func (m *model) sort() {
	for _, s := range m.spaces {
		slices.SortFunc(s.vmas, func(a, b stream.VMA) int { return cmp.Compare(a.Start, b.Start) })
	}
	for _, t := range m.tables {
		slices.SortFunc(t.fds, func(a, b stream.FD) int { return cmp.Compare(a.FD, b.FD) })
	}
}

// add sorts one record in. References may only point backwards.
func (m *model) add(rec *stream.Record) error {
	if err := m.refs(rec); err != nil {
		return err
	}
	switch {
	case rec.Type == stream.TypeObjref:
		return m.again(rec)
	case rec.Flags&stream.Shareable != 0 && stream.Lookup(rec.Type) != nil:
		return m.define(rec)
	case stream.Lookup(rec.Type) == nil:
		if rec.Flags&stream.Critical != 0 {
			return errors.New("this version does not know the record's type, and the restore would not be complete without it")
		}
		return nil
	}
	switch rec.Type {
	case stream.TypeTask:
		return m.task(rec)
	case stream.TypeThread:
		return m.thread(rec)
	case stream.TypeVMA:
		return m.vma(rec)
	case stream.TypeFD:
		return appendPart(m, rec, func(t *tableModel, fd stream.FD) { t.fds = append(t.fds, fd) })
	case stream.TypeEpollTarget:
		return m.epollTarget(rec)
	case stream.TypeLock:
		return appendPart(m, rec, func(t *tableModel, l stream.Lock) { t.locks = append(t.locks, l) })
	}
	return m.belongs(rec)
}

func (m *model) task(rec *stream.Record) error {
	t := &taskModel{resources: map[stream.Type]*stream.Record{}}
	if err := rec.Decode(&t.Task); err != nil {
		return err
	}
	if m.byPID[t.PID] != nil {
		return fmt.Errorf("%w: pid %d stands twice", stream.ErrCorrupt, t.PID)
	}
	if len(m.tasks) > 0 {
		if t.parent = m.byPID[t.PPID]; t.parent == nil || t.parent.Zombie {
			return fmt.Errorf("%w: the parent of pid %d, %d, does not stand before it", stream.ErrCorrupt, t.PID, t.PPID)
		}
		t.parent.children = append(t.parent.children, t)
	}
	m.tasks = append(m.tasks, t)
	m.byPID[t.PID] = t
	return nil
}

func (m *model) thread(rec *stream.Record) error {
	t := &threadModel{resources: map[stream.Type]*stream.Record{stream.TypeThread: rec}}
	if err := rec.Decode(&t.Thread); err != nil {
		return err
	}
	t.of = m.byPID[t.PID]
	switch {
	case t.of == nil || t.of.Zombie:
		return fmt.Errorf("%w: it belongs to pid %d, which has no TASK record before it", stream.ErrCorrupt, t.PID)
	case m.byTID[t.TID] != nil || t.TID != t.PID && m.byPID[t.TID] != nil:
		return fmt.Errorf("%w: thread %d stands twice", stream.ErrCorrupt, t.TID)
	case len(t.of.threads) == 0 && t.TID != t.PID:
		return fmt.Errorf("%w: the first thread of pid %d does not stand before it", stream.ErrCorrupt, t.PID)
	}
	for _, k := range shareable {
		ref := *k.ref(&t.Refs)
		if ref == 0 && k.optional {
			continue
		}
		if d := m.defined[ref]; d == nil || d.Type != k.typ {
			return fmt.Errorf("%w: thread %d refers to object %d as a %v, which it is not", stream.ErrCorrupt, t.TID, ref, k.typ)
		}
	}
	if first := t.of; len(first.threads) > 0 && (first.refs().MM != t.Refs.MM || first.refs().Sighand != t.Refs.Sighand) {
		return fmt.Errorf("%w: thread %d has another address space or other signal actions than its process", stream.ErrCorrupt, t.TID)
	}
	t.of.threads = append(t.of.threads, t)
	m.byTID[t.TID] = t
	return nil
}

func (m *model) vma(rec *stream.Record) error {
	var v stream.VMA
	if err := rec.Decode(&v); err != nil {
		return err
	}
	s := m.spaces[v.Refs.Of]
	if s == nil {
		return fmt.Errorf("%w: it is part of object %d, which is no MM", stream.ErrCorrupt, v.Refs.Of)
	}
	s.vmas = append(s.vmas, v)
	return nil
}

// appendPart gives a record that is part of a descriptor table to it.
func appendPart[T any](m *model, rec *stream.Record, add func(*tableModel, T)) error {
	var of struct {
		Refs stream.PartOf `cbor:"refs"`
	}
	var v T
	if err := errors.Join(rec.Decode(&of), rec.Decode(&v)); err != nil {
		return err
	}
	t := m.tables[of.Refs.Of]
	if t == nil {
		return fmt.Errorf("%w: it is part of object %d, which is no FDTABLE", stream.ErrCorrupt, of.Refs.Of)
	}
	add(t, v)
	return nil
}

// epollTarget gives a record to the table of the thread it names.
func (m *model) epollTarget(rec *stream.Record) error {
	var e stream.EpollTarget
	if err := rec.Decode(&e); err != nil {
		return err
	}
	th := m.byTID[e.PID]
	if th == nil {
		return fmt.Errorf("%w: it belongs to thread %d, which has no THREAD record before it", stream.ErrCorrupt, e.PID)
	}
	t := m.tables[th.Refs.Files]
	t.epolls = append(t.epolls, e)
	return nil
}

// belongs gives a record to the process or thread it names.
func (m *model) belongs(rec *stream.Record) error {
	var of struct {
		PID int `cbor:"pid"`
		TID int `cbor:"tid"`
	}
	if err := rec.Decode(&of); err != nil {
		return err
	}
	r := task.Find(rec.Type)
	if r == nil || r.Scope == task.Shared {
		return fmt.Errorf("%w: it has no place there", stream.ErrCorrupt)
	}
	var to map[stream.Type]*stream.Record
	if r.Scope == task.PerProcess {
		if t := m.byPID[of.PID]; t != nil && len(t.threads) > 0 {
			to = t.resources
		}
	} else if t := m.byTID[of.TID]; t != nil && t.PID == of.PID {
		to = t.resources
	}
	if to == nil {
		return fmt.Errorf("%w: it belongs to pid %d, which has no TASK and THREAD record before it", stream.ErrCorrupt, of.PID)
	}
	if to[rec.Type] != nil {
		return fmt.Errorf("%w: pid %d has it twice", stream.ErrCorrupt, of.PID)
	}
	to[rec.Type] = rec
	return nil
}

// define notes an object. An objref defined twice is an error, see
// package objhash.
func (m *model) define(rec *stream.Record) error {
	var o stream.Object
	if err := rec.Decode(&o); err != nil {
		return err
	}
	if o.Objref == 0 {
		return fmt.Errorf("%w: it has no objref", stream.ErrCorrupt)
	}
	if m.defined[o.Objref] != nil {
		return fmt.Errorf("%w: object %d is defined twice", stream.ErrCorrupt, o.Objref)
	}
	switch rec.Type {
	case stream.TypeMM:
		m.spaces[o.Objref] = &spaceModel{rec: rec}
	case stream.TypeFDTable:
		m.tables[o.Objref] = &tableModel{}
	case stream.TypeFS, stream.TypeSigactions, stream.TypeIOCtx, stream.TypeSemUndo, stream.TypeFile:
	default:
		if files.Find(rec.Type) == nil && memory.FindObject(rec.Type) == nil {
			return fmt.Errorf("%w: it can't be an object", stream.ErrCorrupt)
		}
	}
	m.defined[o.Objref] = rec
	m.objects = append(m.objects, rec)
	return nil
}

// again checks an OBJREF record: defined before, and of that type.
func (m *model) again(rec *stream.Record) error {
	var o stream.ObjrefUse
	if err := rec.Decode(&o); err != nil {
		return err
	}
	switch d := m.defined[o.Objref]; {
	case d == nil:
		return fmt.Errorf("%w: object %d is not defined before", stream.ErrCorrupt, o.Objref)
	case d.Type != o.Type:
		return fmt.Errorf("%w: object %d is a %v, not a %v", stream.ErrCorrupt, o.Objref, d.Type, o.Type)
	}
	return nil
}

// refs checks that what a record refers to is defined.
func (m *model) refs(rec *stream.Record) error {
	var r struct {
		Refs map[string]uint64 `cbor:"refs"`
	}
	if err := rec.Decode(&r); err != nil {
		return err
	}
	for name, ref := range r.Refs {
		if m.defined[ref] == nil && ref != 0 {
			return fmt.Errorf("%w: its %s is object %d, which is not defined before", stream.ErrCorrupt, name, ref)
		}
	}
	return nil
}
