// Package sorter finds which objects of a raw stream are one kernel object, with
// kcmp(2), gives each an objref, and turns every later encounter into OBJREF. It
// knows no types of objects.
package sorter

import (
	"errors"
	"fmt"

	"ckpt/internal/kcmp"
	"ckpt/stream"
	"ckpt/stream/record"
)

// ErrStage: the stream is not a raw one.
var ErrStage = errors.New("the stream is not a raw one: its objects have been told apart already")

// Sorter is one pass over a stream.
type Sorter struct {
	trees  map[treeKey]*kcmp.Tree
	cmp    kcmp.Comparer
	idents map[string]identified
	objref map[uint64]uint64 // a raw stream's ids
	again  map[uint64]bool   // ids of encounters that were not the first
	last   uint64            // objref given
	links  stream.Links      // of the current record
	seen   int
	fds    int
}

// New returns a Sorter that compares with cmp, or with the kernel if it is nil.
func New(cmp kcmp.Comparer) *Sorter {
	if cmp == nil {
		cmp = kcmp.Kernel{}
	}
	return &Sorter{cmp: cmp, trees: map[treeKey]*kcmp.Tree{}, idents: map[string]identified{}, objref: map[uint64]uint64{}, again: map[uint64]bool{}}
}

// identified is an object known by its ident.
type identified struct {
	ref uint64
	typ record.Type
}

// treeKey has the record's type, too: records of two types may be compared in the
// same way, as EPOLL and FILE of an epoll are, and an objref is of one type.
type treeKey struct {
	rec record.Type
	cmp kcmp.Type
}

// Report says in words what was done.
func (s *Sorter) Report(step func(string, ...any)) {
	calls := 0
	for _, t := range s.trees {
		calls += t.Stats().Calls
	}
	step("%d descriptors and %d encounters with objects seen, %d objects found, %d kcmp calls made", s.fds, s.seen, s.last, calls)
}

// Sort returns what takes the place of rec, nil for nothing.
func (s *Sorter) Sort(rec *stream.Record) (*stream.Record, error) {
	switch {
	case rec.Type == record.TypeObjref:
		return nil, ErrStage
	case rec.Flags&record.Shareable != 0:
		return s.object(rec)
	case rec.Type == record.TypeFD:
		s.fds++
	}
	return s.plain(rec)
}

// plain rewrites a record that is no object. It drops one that belongs to a later
// encounter with an object, which has been described already.
func (s *Sorter) plain(rec *stream.Record) (*stream.Record, error) {
	l := &s.links
	if err := l.Read(rec); err != nil || s.again[l.Ref("of")] {
		return nil, err
	}
	changed, err := s.translate(l)
	if err == nil && changed {
		l.Write(rec, 0)
	}
	return rec, err
}

// object gives the object its objref, or turns a later encounter into OBJREF.
func (s *Sorter) object(rec *stream.Record) (*stream.Record, error) {
	l := &s.links
	if err := l.Read(rec); err != nil {
		return nil, err
	}
	o, err := l.Object()
	if err != nil {
		return nil, err
	}
	if o.ID == 0 {
		return nil, fmt.Errorf("%w: it has no id", stream.ErrCorrupt)
	}
	if _, ok := s.objref[o.ID]; ok {
		return nil, fmt.Errorf("%w: id %d occurs twice", stream.ErrCorrupt, o.ID)
	}
	s.seen++
	ref, isNew, err := s.sort(rec.Type, &o)
	if err != nil {
		return nil, err
	}
	s.objref[o.ID] = ref
	if !isNew {
		s.again[o.ID] = true
		return stream.New(record.TypeObjref, &record.ObjrefUse{Objref: ref, Type: rec.Type})
	}
	if _, err := s.translate(l); err != nil {
		return nil, err
	}
	l.Write(rec, ref)
	return rec, nil
}

func (s *Sorter) sort(t record.Type, o *record.Object) (ref uint64, isNew bool, err error) {
	next := func() uint64 { s.last++; return s.last }
	switch {
	case o.Kcmp != nil:
		typ := kcmp.Type(o.Kcmp.Type)
		if typ < kcmp.File || typ > kcmp.SysVSem {
			return 0, false, fmt.Errorf("%w: kcmp type %d", stream.ErrCorrupt, typ)
		}
		key := treeKey{t, typ}
		if s.trees[key] == nil {
			s.trees[key] = kcmp.NewTree(typ, s.cmp)
		}
		return s.trees[key].Insert(o.Genid, kcmp.Handle{PID: o.Kcmp.TID, Idx: o.Kcmp.Idx}, next)
	case len(o.Ident) > 0:
		if first, ok := s.idents[string(o.Ident)]; ok {
			if first.typ != t {
				return 0, false, fmt.Errorf("%w: it has the ident of a %v", stream.ErrCorrupt, first.typ)
			}
			return first.ref, false, nil
		}
		s.idents[string(o.Ident)] = identified{next(), t}
		return s.last, true, nil
	}
	return next(), true, nil // one of its kind
}

// translate turns the ids in a record's refs into objrefs, and reports whether that
// changed any.
func (s *Sorter) translate(l *stream.Links) (changed bool, _ error) {
	for i := range l.Refs {
		r := &l.Refs[i]
		ref, ok := s.objref[r.ID]
		if !ok && r.ID != 0 {
			return false, fmt.Errorf("%w: its %s is id %d, which no record before it has", stream.ErrCorrupt, r.Name, r.ID)
		}
		changed = changed || ref != r.ID
		r.ID = ref
	}
	return changed, nil
}
