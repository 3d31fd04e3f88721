package files

import (
	"slices"

	"ckpt/internal/object"
	"ckpt/stream"
	"ckpt/stream/record"
)

// Kind is a kind of open file, one row of Kinds: its records and how it is saved
// and restored. What a checkpoint or restart must remember of a kind is in what
// Save and Restore return, made anew for each.
type Kind struct {
	Type    record.Type
	Data    []record.Type // bulk records of its data
	Part    []record.Type // records that add to one
	Save    func(c *Collector) Saver
	Restore func(r *Restorer) Maker
}

// Saver is a kind in one checkpoint: what is done, in this order. Each phase is
// over for all tasks before the next begins. Beside Match and Collect all may be
// nil.
type Saver struct {
	// Look is shown every subject, of whatever kind.
	Look func(s *Subject)
	// Match says whether a subject is of this kind.
	Match func(s *Subject) bool
	// Collect emits the kind's record and returns its number, 0 of what is blocked.
	Collect func(s *Subject) (uint64, error)
	// Settle describes and judges what takes more than one subject.
	Settle func() error
	// Send returns what sends its data.
	Send func() []Sender
}

// Maker is a kind in one restart. What becomes of an object once it is made is
// the object's, see object.Object.
type Maker struct {
	object.Kind // the types are those of the row
	// Thing says what may take the place of what a record describes; nil where
	// that has neither a name nor an end outside.
	Thing func(rec *stream.Record) (*Thing, error)
}

// Thing is what a description has open, as far as its place may be taken.
type Thing struct {
	Name  string // "": it can only be named by its descriptors
	Loose string // "": it is in the image; else what of it is not, in words
	TTY   bool
	// Paired: another one in the image needs it.
	Paired bool
	// Reg is what a regular file was.
	Reg *record.Reg
}

// Kinds are tried in order; the first that matches takes the subject.
var Kinds = []Kind{
	procFileKind,
	regKind,
	dirKind,
	pipeKind,
	fifoKind,
	charDevKind,
	ttyKind,
	eventfdKind,
	epollKind,
	unixSockKind,
	memfdKind,
}

// Types are the record types of things that can be open.
func Types() []record.Type {
	types := make([]record.Type, len(Kinds))
	for i := range Kinds {
		types[i] = Kinds[i].Type
	}
	return types
}

// IsPart reports whether records of a type add to things that are open.
func IsPart(t record.Type) bool {
	return slices.ContainsFunc(Kinds, func(k Kind) bool { return slices.Contains(k.Part, t) })
}

// Kinds are all kinds of this package, for a restart.
func (r *Restorer) Kinds() []object.Kind {
	kinds := []object.Kind{{Type: record.TypeFile, Check: checkFile, Here: r.ownerHere, Make: r.makeFile}}
	for i := range Kinds {
		kinds = append(kinds, r.replaceable(r.maker(Kinds[i].Type).Kind))
	}
	return kinds
}

// maker returns the share of a kind in the restart.
func (r *Restorer) maker(t record.Type) *Maker {
	if r.makers == nil {
		r.makers = map[record.Type]*Maker{}
		for _, k := range Kinds {
			m := k.Restore(r)
			m.Type, m.Data, m.Part = k.Type, k.Data, k.Part
			r.makers[k.Type] = &m
		}
	}
	return r.makers[t]
}

// replaceable returns a kind of which those are neither checked nor made that
// nobody will have open.
func (r *Restorer) replaceable(k object.Kind) object.Kind {
	check, here, makes := k.Check, k.Here, k.Make
	if check != nil {
		k.Check = func(rec *stream.Record) []error {
			if _, gone := r.unneeded(rec); gone {
				return nil
			}
			return check(rec)
		}
	}
	if here != nil {
		k.Here = func(rec *stream.Record) []error {
			if _, gone := r.unneeded(rec); gone {
				return nil
			}
			return here(rec)
		}
	}
	k.Make = func(rec *stream.Record) (object.Object, error) {
		if name, gone := r.unneeded(rec); gone {
			return &replaced{name: name, note: r.Note}, nil
		}
		return makes(rec)
	}
	return k
}

// unneeded returns the name of a thing that only replaced descriptions have open.
func (r *Restorer) unneeded(rec *stream.Record) (name string, is bool) {
	if len(r.plan.unwanted) == 0 {
		return "", false
	}
	objref, err := rec.Uint("objref")
	if err != nil {
		return "", false
	}
	name, is = r.plan.unwanted[objref]
	return name, is
}
