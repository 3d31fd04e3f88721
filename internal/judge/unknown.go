package judge

import (
	"fmt"

	"ckpt/stream"
	"ckpt/stream/record"
)

// unknownType: a critical record has a type that this program does not know.
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

// Known returns an error for a critical record whose type is not in the table.
func Known(rec *stream.Record, h *record.Header) error {
	if rec.Flags&record.Critical == 0 || record.Lookup(rec.Type) != nil {
		return nil
	}
	return &Refused{[]error{&unknownType{rec.Type, h.Tool}}}
}

// unknown adds a record whose type is not in the table. If it is an object, other
// records of unknown types may refer to it.
func (m *Model) unknown(rec *stream.Record) error {
	if err := Known(rec, &m.Header); err != nil || rec.Flags&record.Shareable == 0 {
		return err
	}
	_, err := m.name(rec)
	return err
}

// name notes the record of an objref. Defining one twice is an error, see package
// objhash.
func (m *Model) name(rec *stream.Record) (objref uint64, err error) {
	if objref, err = m.links.Uint("objref"); err != nil {
		return 0, err
	}
	if objref == 0 {
		return 0, fmt.Errorf("%w: it has no objref", stream.ErrCorrupt)
	}
	if m.Defined[objref] != nil {
		return 0, fmt.Errorf("%w: object %d is defined twice", stream.ErrCorrupt, objref)
	}
	m.Defined[objref] = rec
	return objref, nil
}
