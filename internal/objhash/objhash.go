// Package objhash maps an objref to the live kernel object it names while a
// restart lasts. The idea is the objhash of the Linux-CR kernel patches
// (O. Laadan, 2008–2009): the hash is one-way, nothing leaves it before it is
// discarded, and it holds a reference on each object, so that all of them stay
// safe to use.
package objhash

import (
	"errors"
	"fmt"
	"slices"

	"ckpt/stream/record"
)

// What can be wrong with a reference, each with the errno of its ancestor.
var (
	// ErrTwice (EINVAL): an objref is defined a second time.
	ErrTwice = errors.New("it is defined twice")
	// ErrUndefined (EINVAL): an objref is used that was not defined before.
	ErrUndefined = errors.New("it is used before it is defined")
	// ErrType (ENOMSG): an objref is used as another type than it was
	// defined with.
	ErrType = errors.New("it has another type")
)

// RefError names the objref.
type RefError struct {
	Objref uint64
	Want   []record.Type
	Got    record.Type
	Err    error
}

func (e *RefError) Error() string {
	switch {
	case e.Err == ErrType:
		return fmt.Sprintf("object %d is a %v, where one of %v is needed", e.Objref, e.Got, e.Want)
	default:
		return fmt.Sprintf("object %d: %v", e.Objref, e.Err)
	}
}

func (e *RefError) Unwrap() error { return e.Err }

// Object is a live object, wherever it is (see package depot). Close drops the
// reference that the hash holds.
type Object interface{ Close() error }

type entry[T Object] struct {
	typ record.Type
	obj T
}

// Hash holds one reference on every object of a restart. It is not safe for
// concurrent use.
type Hash[T Object] struct{ m map[uint64]entry[T] }

// New returns an empty Hash.
func New[T Object]() *Hash[T] { return &Hash[T]{m: map[uint64]entry[T]{}} }

// Add defines objref. The hash owns obj from then on, also when Add fails.
func (h *Hash[T]) Add(objref uint64, t record.Type, obj T) error {
	if objref == 0 {
		return errors.Join(&RefError{Objref: objref, Err: ErrUndefined}, obj.Close())
	}
	if _, ok := h.m[objref]; ok {
		return errors.Join(&RefError{Objref: objref, Err: ErrTwice}, obj.Close())
	}
	h.m[objref] = entry[T]{t, obj}
	return nil
}

// Get returns the object that objref names, which must have one of the types if
// any are given.
func (h *Hash[T]) Get(objref uint64, want ...record.Type) (T, error) {
	e, ok := h.m[objref]
	if !ok {
		return e.obj, &RefError{Objref: objref, Want: want, Err: ErrUndefined}
	}
	if len(want) > 0 && !slices.Contains(want, e.typ) {
		var none T
		return none, &RefError{Objref: objref, Want: want, Got: e.typ, Err: ErrType}
	}
	return e.obj, nil
}

// Type returns the type that an objref was defined with, 0 if it was not.
func (h *Hash[T]) Type(objref uint64) record.Type { return h.m[objref].typ }

// Len returns how many objects there are.
func (h *Hash[T]) Len() int { return len(h.m) }

// Close drops every reference: the restart is over.
func (h *Hash[T]) Close() error {
	var errs []error
	for _, e := range h.m {
		errs = append(errs, e.obj.Close())
	}
	clear(h.m)
	return errors.Join(errs...)
}
