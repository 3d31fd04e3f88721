package mounts

import (
	"io"

	"ckpt/internal/object"
	"ckpt/stream"
	"ckpt/stream/record"
)

// Add adds a record of the description: a FILESYSTEM, MOUNT or FSNODE.
func (r *Restorer) Add(rec *stream.Record) error {
	switch rec.Type {
	case record.TypeFilesystem:
		return add(rec, r.Filesystem)
	case record.TypeMount:
		return add(rec, r.Mount)
	}
	return add(rec, r.Node)
}

func add[T any](rec *stream.Record, to func(*T) error) error {
	v := new(T)
	if err := rec.Decode(v); err != nil {
		return err
	}
	return to(v)
}

// IsPart reports whether a record adds to a mount namespace, or a file system in one.
func IsPart(t record.Type) bool { return t == record.TypeMount || t == record.TypeFSNode }

// Kinds returns the kind of object that file systems are. They are made together, before all
// that is opened in them; only their bytes come with those of other objects.
func (r *Restorer) Kinds() []object.Kind {
	return []object.Kind{{Type: record.TypeFilesystem, Data: []record.Type{record.TypeFSData},
		Make: func(*stream.Record) (object.Object, error) { return &filled{r: r}, nil }}}
}

type filled struct {
	object.Base
	r *Restorer
}

func (f *filled) Fill(rec *stream.Record, data io.Reader) error {
	var d record.FSData
	if err := rec.Decode(&d); err != nil {
		return err
	}
	return f.r.Fill(&d, data, rec.DataLen)
}
