package object

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"ckpt/internal/objhash"
	"ckpt/stream"
	"ckpt/stream/record"
)

// Hash holds the reference that a restart has on each object.
type Hash = objhash.Hash[Object]

// Set is all objects of a restart. Each phase is done for all of them, in the order
// of the stream, before the next begins.
type Set struct {
	Hash  *Hash
	kinds map[record.Type]*Kind
	parts map[record.Type]*Kind
	bulk  map[record.Type]bool
	made  []Object
}

// NewSet returns an empty Set that keeps its objects in hash.
func NewSet(hash *Hash, kinds ...[]Kind) *Set {
	s := &Set{Hash: hash, kinds: map[record.Type]*Kind{}, parts: map[record.Type]*Kind{}, bulk: map[record.Type]bool{}}
	for _, k := range slices.Concat(kinds...) {
		s.kinds[k.Type] = &k
		for _, t := range k.Part {
			s.parts[t] = &k
		}
		for _, t := range k.Data {
			s.bulk[t] = true
		}
	}
	return s
}

// Takes reports whether records of a bulk type are of objects.
func (s *Set) Takes(t record.Type) bool { return s.bulk[t] }

// of returns the kind whose object or part a record is, or nil.
func (s *Set) of(t record.Type) *Kind {
	if k := s.kinds[t]; k != nil {
		return k
	}
	return s.parts[t]
}

// Check says what in the record of an object, or a part of one, can't be restored.
func (s *Set) Check(rec *stream.Record) []error {
	if k := s.of(rec.Type); k != nil && k.Check != nil {
		return k.Check(rec)
	}
	return nil
}

// Here says which capabilities a record needs that this process lacks.
func (s *Set) Here(rec *stream.Record) []error {
	if k := s.kinds[rec.Type]; k != nil && k.Here != nil {
		return k.Here(rec)
	}
	return nil
}

// Names are the process ids that making it needs.
func (s *Set) Names(rec *stream.Record) []int {
	if k := s.kinds[rec.Type]; k != nil && k.Names != nil {
		return k.Names(rec)
	}
	return nil
}

// Make makes what a record describes, if it is an object of the set.
func (s *Set) Make(rec *stream.Record) error {
	k := s.kinds[rec.Type]
	if k == nil {
		return nil
	}
	objref, err := rec.Uint("objref")
	if err != nil {
		return err
	}
	obj, err := k.Make(rec)
	if err != nil || obj == nil {
		return err
	}
	s.made = append(s.made, obj)
	return s.Hash.Add(objref, rec.Type, obj)
}

// Add gives a part to its object.
func (s *Set) Add(rec *stream.Record) error {
	k := s.parts[rec.Type]
	if k == nil {
		return fmt.Errorf("%w: it is part of nothing", stream.ErrCorrupt)
	}
	return k.Add(rec)
}

// Fill gives bytes to their object.
func (s *Set) Fill(rec *stream.Record, data io.Reader) error {
	refs, err := rec.Refs()
	if err != nil {
		return err
	}
	inode := refs["inode"]
	obj, err := s.Hash.Get(inode)
	if err != nil {
		return err
	}
	if k := s.kinds[s.Hash.Type(inode)]; k == nil || !slices.Contains(k.Data, rec.Type) {
		return fmt.Errorf("%w: object %d takes no such data", stream.ErrCorrupt, inode)
	}
	return obj.Fill(rec, data)
}

// Complete completes all objects.
func (s *Set) Complete() error { return s.each(Object.Complete) }

// Seal seals all objects.
func (s *Set) Seal() error { return s.each(Object.Seal) }

// Attach attaches all objects.
func (s *Set) Attach(t Tasks) error {
	return s.each(func(o Object) error { return o.Attach(t) })
}

// Commit commits all objects.
func (s *Set) Commit() error { return s.each(Object.Commit) }

func (s *Set) each(phase func(Object) error) error {
	for _, o := range s.made {
		if err := phase(o); err != nil {
			return err
		}
	}
	return nil
}

// Undo takes back what would outlive the restart.
func (s *Set) Undo() error {
	var errs []error
	for _, o := range slices.Backward(s.made) {
		errs = append(errs, o.Undo())
	}
	return errors.Join(errs...)
}
