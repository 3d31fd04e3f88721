package memory

import (
	"os"

	"ckpt/internal/caps"
	"ckpt/stream"
)

// Object is what shared mappings map, other than files.
type Object interface {
	// Open opens it anew.
	Open(flags int) (*os.File, error)
	// ContentFile is where its bytes go; nil if it has them.
	ContentFile() (*os.File, error)
	Close() error
}

// ObjectKind is a kind of Object, one record type.
type ObjectKind struct {
	Type  stream.Type
	Check func(rec *stream.Record) []error // what can't be restored here
	// Here says which capabilities it takes that this process lacks.
	Here    func(own *caps.Process, rec *stream.Record) []error
	Restore func(rec *stream.Record, note func(string, ...any)) (Object, error)
}

// Objects are all kinds.
var Objects = [...]ObjectKind{
	{stream.TypeShmem, checkShmem, nil, restoreShmem},
	{stream.TypeSysVShm, checkSysVShm, sysVShmHere, restoreSysVShm},
}

// FindObject returns the row of a record type, or nil.
func FindObject(t stream.Type) *ObjectKind {
	for i := range Objects {
		if Objects[i].Type == t {
			return &Objects[i]
		}
	}
	return nil
}
