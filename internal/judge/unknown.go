package judge

import (
	"fmt"

	"ckpt/stream"
	"ckpt/stream/record"
)

// unknownType: a record that must not be passed over is of a type that this
// program does not know.
type unknownType struct {
	typ  record.Type
	tool string // what saved it
}

func (u *unknownType) Error() string {
	return fmt.Sprintf("this program does not know records of %v, and the restore would not be complete without it", u.typ)
}

func (u *unknownType) Hint() string {
	return fmt.Sprintf("it was saved by %s; restore it with that version of ckpt or a later one", u.tool)
}

// Known is an error for a record that must not be passed over and is of a type
// that is not in the table.
func Known(rec *stream.Record, h *record.Header) error {
	if rec.Flags&record.Critical == 0 || record.Lookup(rec.Type) != nil {
		return nil
	}
	return &Refused{[]error{&unknownType{rec.Type, h.Tool}}}
}

// unknown sorts in a record of a type that is not in the table. What it describes
// others may refer to, that are not known either.
func (m *Model) unknown(rec *stream.Record) error {
	if err := Known(rec, &m.Header); err != nil || rec.Flags&record.Shareable == 0 {
		return err
	}
	var o record.Object
	if err := rec.Decode(&o); err != nil {
		return err
	}
	return m.name(&o, rec)
}

// name notes what an objref stands for. One defined twice is an error, see package
// objhash.
func (m *Model) name(o *record.Object, rec *stream.Record) error {
	if o.Objref == 0 {
		return fmt.Errorf("%w: it has no objref", stream.ErrCorrupt)
	}
	if m.Defined[o.Objref] != nil {
		return fmt.Errorf("%w: object %d is defined twice", stream.ErrCorrupt, o.Objref)
	}
	m.Defined[o.Objref] = rec
	return nil
}
