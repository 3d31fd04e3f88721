package files

import (
	"slices"

	"ckpt/internal/ends"
	"ckpt/internal/object"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

// Kind is a kind of open file, one row of Kinds: its records, and how it is saved
// and restored. Whatever a checkpoint or restart must remember about a kind is
// kept in what Save and Restore return, which is made anew for each.
type Kind struct {
	Type    record.Type
	Data    []record.Type // bulk records of its data
	Part    []record.Type // records that add something to an object
	Save    func(c *Collector) Saver
	Restore func(r *Restorer) Maker
}

// Saver is a kind in one checkpoint: its phases, in this order. Each phase is
// over for all tasks before the next begins, but Ahead and Collect, which are for
// one descriptor table after the other. All but Match and Collect may be nil.
type Saver struct {
	// Look is called with every subject, whatever its kind.
	Look func(s *Subject)
	// Match reports whether a subject is of this kind.
	Match func(s *Subject) bool
	// Ahead reads, on all CPUs, what Collect will need of the subjects of a table
	// that are of its kind, where that takes long.
	Ahead func(subjects []*Subject)
	// Collect emits the kind's record and returns its number, 0 if the subject
	// can't be saved.
	Collect func(s *Subject) (uint64, error)
	// Thread looks at each thread of a process that has a subject of the kind, for what is the
	// thread's own. It is called while that process is described.
	Thread func(t *Thread) error
	// Settle describes and checks what involves more than one subject.
	Settle func() error
	// Send returns the functions that send its data.
	Send func() []Sender

	// Paths: Collect asks by way of statOf and isThere, which is done ahead.
	Paths bool
}

// Thread is one in which system calls can be made.
type Thread struct {
	TID   int
	Ask   func([]tracee.Query) ([]tracee.Answer, error)
	Block func(reason error) // notes what stands in the way of saving it
}

// Maker is a kind in one restart. What happens to an object once it is made is
// up to the object, see object.Object.
type Maker struct {
	object.Kind     // its types are filled in from the row
	State       any // what other kinds, which know its type, share with it; mostly nil
	// Thing describes the object of a record as far as replacing it goes; nil
	// for kinds that have neither a name nor an end outside the image.
	Thing func(rec *stream.Record) (*Thing, error)
}

// Thing is what a description has open, as far as something else may replace it.
type Thing struct {
	Name  string // "" if only its descriptors can name it
	Loose string // "" if all of it is in the image; else what is not, for a message
	TTY   bool
	// Self are the decisions that the object itself carries out, in place of a substitute
	// for its descriptions; Propose is the one that is proposed, All a pattern for all for
	// which that is good.
	Self         []ends.Action
	Propose, All string
	// Default is what is decided if the user says nothing; 0: nothing.
	Default ends.Action
	// Paired: another object in the image needs it.
	Paired bool
	// Reg is the record of a regular file.
	Reg *record.Reg
}

// Kinds are tried in order; the first that matches takes the subject.
var Kinds = []Kind{
	procFileKind,
	opathKind,
	mqueueKind,
	regKind,
	dirKind,
	pipeKind,
	fifoKind,
	charDevKind,
	ttyKind,
	ptmxKind,
	eventfdKind,
	signalfdKind,
	timerfdKind,
	pidfdKind,
	inotifyKind,
	uringKind,
	unixSockKind,
	inetSockKind,
	netlinkKind,
	epollKind, // whose targets may be in flight in sockets
	memfdKind,
}

// Types are the record types of objects that can be open.
func Types() []record.Type {
	types := make([]record.Type, len(Kinds))
	for i := range Kinds {
		types[i] = Kinds[i].Type
	}
	return types
}

// IsPart reports whether records of a type add something to an open object.
func IsPart(t record.Type) bool {
	return slices.ContainsFunc(Kinds, func(k Kind) bool { return slices.Contains(k.Part, t) })
}

// Kinds returns all kinds of this package, for a restart.
func (r *Restorer) Kinds() []object.Kind {
	kinds := []object.Kind{{Type: record.TypeFile, Check: r.checkFile, Here: r.signalOwnerHere, Make: r.makeFile}}
	for i := range Kinds {
		kinds = append(kinds, r.replaceable(r.maker(Kinds[i].Type).Kind))
	}
	return kinds
}

// maker returns the Maker of a kind, made on first use.
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

// replaceable wraps a kind so that objects which no descriptor will have open are
// neither checked nor made.
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

// unneeded returns the name of an object that only replaced descriptions have
// open.
func (r *Restorer) unneeded(rec *stream.Record) (name string, is bool) {
	if len(r.replacements.unwanted) == 0 {
		return "", false
	}
	objref, err := rec.Uint("objref")
	if err != nil {
		return "", false
	}
	name, is = r.replacements.unwanted[objref]
	return name, is
}
