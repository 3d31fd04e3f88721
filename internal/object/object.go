// Package object is the life of the kernel objects of a restart: what each kind
// does in each phase, and the Set that takes all objects through the phases. The
// idea is that of obj_ops in the Linux-CR kernel patches.
package object

import (
	"fmt"
	"io"
	"os"

	"ckpt/internal/puppet"
	"ckpt/stream"
	"ckpt/stream/record"
)

// Kind is one kind of object in a restart, before there is one: its records and
// what is done with them, in this order. All but the type and Make may be nil.
type Kind struct {
	Type record.Type
	Data []record.Type // the bulk records that Fill takes
	Part []record.Type // the records that Add takes
	// Check says what in a record, or in one of its parts, can't be restored.
	Check func(rec *stream.Record) []error
	// Here says which capabilities it needs that this process lacks.
	Here func(rec *stream.Record) []error
	// Names are the process ids that making it needs.
	Names func(rec *stream.Record) []int
	// Make makes the object that a record describes; nil if there is to be none.
	Make func(rec *stream.Record) (Object, error)
	// Add gives a part to its object. All are made by then.
	Add func(rec *stream.Record) error
}

// Object is a live object, wherever it is (see package depot): what is done with
// it once it is made, in this order.
type Object interface {
	// Open opens it anew with O_ flags, without creating or truncating.
	Open(flags int) (*os.File, error)
	// Late is when it can be opened: 0 at once, else when all tasks are there with
	// all descriptors of what is less late.
	Late() int
	// Fill puts the bytes of one of its bulk records in place.
	Fill(rec *stream.Record, data io.Reader) error
	// Complete is called when all bytes of all objects are in.
	Complete() error
	// Seal is called when all mappings of it are made.
	Seal() error
	// Attach does what must be done inside tasks. All of them exist, without
	// descriptors.
	Attach(t Tasks) error
	// Commit does what the host would notice, when all that is left to do is to let
	// the tasks run.
	Commit() error
	// Undo takes back what would outlive a restart that failed.
	Undo() error
	// Close drops the reference that the restart holds.
	Close() error
}

// Tasks are those of the restart.
type Tasks interface {
	// Puppet returns the thread with an id, nil if there is none.
	Puppet(tid int) *puppet.Puppet
}

// Base does nothing in any phase: an object embeds it and defines the methods that
// it needs.
type Base struct{}

func (Base) Open(int) (*os.File, error) {
	return nil, fmt.Errorf("%w: it can't be opened", stream.ErrCorrupt)
}

func (Base) Fill(*stream.Record, io.Reader) error {
	return fmt.Errorf("%w: it takes no bytes", stream.ErrCorrupt)
}

func (Base) Late() int          { return 0 }
func (Base) Complete() error    { return nil }
func (Base) Seal() error        { return nil }
func (Base) Attach(Tasks) error { return nil }
func (Base) Commit() error      { return nil }
func (Base) Undo() error        { return nil }
func (Base) Close() error       { return nil }
