// Package object is the life of the kernel objects of a restart: what is done
// with each of a kind, phase by phase, and the one that takes all of them through.
// The idea is the obj_ops of the Linux-CR kernel patches.
package object

import (
	"fmt"
	"io"
	"os"

	"ckpt/internal/tracee"
	"ckpt/stream"
)

// Kind is one kind of object in a restart, before there is one: its records and
// what is done with them, in this order. Beside the type and Make all may be nil.
type Kind struct {
	Type stream.Type
	Data []stream.Type // the bulk records that Fill takes
	Part []stream.Type // the records that Add takes
	// Check says what in a record, or in one of its parts, can't be restored.
	Check func(rec *stream.Record) []error
	// Here says which capabilities it takes that this process lacks.
	Here func(rec *stream.Record) []error
	// Names are the process ids that making it takes.
	Names func(rec *stream.Record) []int
	// Make makes the object that a record describes; nil if there is to be none.
	Make func(rec *stream.Record) (Object, error)
	// Add gives a part to its object. All are made by then.
	Add func(rec *stream.Record) error
}

// Object is a live object, wherever it is, see package depot: what is done with
// it once it is made, in this order.
type Object interface {
	// Open opens it anew with O_ flags, without creating or truncating.
	Open(flags int) (*os.File, error)
	// Fill puts the bytes of one of its bulk records in place.
	Fill(rec *stream.Record, data io.Reader) error
	// Complete is called when all bytes of all objects are in.
	Complete() error
	// Seal is called when all mappings of it are made.
	Seal() error
	// Attach does what must be done by the tasks. All are there, without
	// descriptors.
	Attach(t Tasks) error
	// Commit does what the host would notice, when nothing else is left to do but
	// to let the tasks run.
	Commit() error
	// Undo takes back what would outlive a restart that failed.
	Undo() error
	// Close drops the reference that the restart holds.
	Close() error
}

// Tasks are those of the restart.
type Tasks interface {
	// Puppet returns a thread, nil if there is none of that id.
	Puppet(tid int) *tracee.Puppet
}

// Base has nothing to do in any phase: an object embeds it and has the methods
// that it needs.
type Base struct{}

func (Base) Open(int) (*os.File, error) {
	return nil, fmt.Errorf("%w: it can't be opened", stream.ErrCorrupt)
}

func (Base) Fill(*stream.Record, io.Reader) error {
	return fmt.Errorf("%w: it takes no bytes", stream.ErrCorrupt)
}

func (Base) Complete() error    { return nil }
func (Base) Seal() error        { return nil }
func (Base) Attach(Tasks) error { return nil }
func (Base) Commit() error      { return nil }
func (Base) Undo() error        { return nil }
func (Base) Close() error       { return nil }
