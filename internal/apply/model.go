package apply

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"ckpt/internal/files"
	"ckpt/internal/task"
	"ckpt/stream"
)

// model is all metadata of a stream, read and sorted, before anything is done.
type model struct {
	header  stream.Header
	objects []*stream.Record // what has an objref, in the stream's order
	tasks   []*taskModel
	defined map[uint64]stream.Type
}

// taskModel is one process of it.
type taskModel struct {
	stream.Task
	resources map[stream.Type]*stream.Record // of package task
	vmas      []stream.VMA
	fds       []stream.FD
	locks     []stream.Lock
	epolls    []stream.EpollTarget
}

// readModel reads up to the first bulk record, or END, and returns that record.
func readModel(r *stream.Reader) (*model, *stream.Record, error) {
	m := &model{defined: map[uint64]stream.Type{}}
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
			return m, rec, nil
		}
		if err := m.add(rec); err != nil {
			return nil, nil, &stream.RecordError{Index: r.Totals().Records - 1, Type: rec.Type, Offset: r.Offset(), Err: err}
		}
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
	case rec.Type == stream.TypeTask:
		// its own record is a resource, too
		t := &taskModel{resources: map[stream.Type]*stream.Record{}}
		if err := rec.Decode(&t.Task); err != nil {
			return err
		}
		m.tasks = append(m.tasks, t)
	case stream.Lookup(rec.Type) == nil:
		if rec.Flags&stream.Critical != 0 {
			return errors.New("this version does not know the record's type, and the restore would not be complete without it")
		}
		return nil
	}
	return m.belongs(rec)
}

// belongs gives a record to the task it names.
func (m *model) belongs(rec *stream.Record) error {
	var of struct {
		PID int `cbor:"pid"`
	}
	if err := rec.Decode(&of); err != nil {
		return err
	}
	i := slices.IndexFunc(m.tasks, func(t *taskModel) bool { return t.PID == of.PID })
	if i < 0 {
		return fmt.Errorf("%w: it belongs to pid %d, which has no TASK record before it", stream.ErrCorrupt, of.PID)
	}
	t := m.tasks[i]
	switch rec.Type {
	case stream.TypeVMA:
		return appendDecoded(&t.vmas, rec)
	case stream.TypeFD:
		return appendDecoded(&t.fds, rec)
	case stream.TypeLock:
		return appendDecoded(&t.locks, rec)
	case stream.TypeEpollTarget:
		return appendDecoded(&t.epolls, rec)
	}
	if task.Find(rec.Type) == nil {
		return fmt.Errorf("%w: it has no place there", stream.ErrCorrupt)
	}
	if t.resources[rec.Type] != nil {
		return fmt.Errorf("%w: pid %d has it twice", stream.ErrCorrupt, of.PID)
	}
	t.resources[rec.Type] = rec
	return nil
}

func appendDecoded[T any](list *[]T, rec *stream.Record) error {
	var v T
	if err := rec.Decode(&v); err != nil {
		return err
	}
	*list = append(*list, v)
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
	if _, ok := m.defined[o.Objref]; ok {
		return fmt.Errorf("%w: object %d is defined twice", stream.ErrCorrupt, o.Objref)
	}
	if files.Find(rec.Type) == nil && rec.Type != stream.TypeFile && rec.Type != stream.TypeShmem {
		return fmt.Errorf("%w: it can't be an object", stream.ErrCorrupt)
	}
	m.defined[o.Objref] = rec.Type
	m.objects = append(m.objects, rec)
	return nil
}

// again checks an OBJREF record: defined before, and of that type.
func (m *model) again(rec *stream.Record) error {
	var o stream.ObjrefUse
	if err := rec.Decode(&o); err != nil {
		return err
	}
	switch typ, ok := m.defined[o.Objref]; {
	case !ok:
		return fmt.Errorf("%w: object %d is not defined before", stream.ErrCorrupt, o.Objref)
	case typ != o.Type:
		return fmt.Errorf("%w: object %d is a %v, not a %v", stream.ErrCorrupt, o.Objref, typ, o.Type)
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
		if _, ok := m.defined[ref]; !ok && ref != 0 {
			return fmt.Errorf("%w: its %s is object %d, which is not defined before", stream.ErrCorrupt, name, ref)
		}
	}
	return nil
}
