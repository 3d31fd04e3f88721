package memory

import (
	"fmt"
	"os"

	"ckpt/internal/caps"
	"ckpt/internal/depot"
	"ckpt/stream"
)

// Object is what shared mappings map, other than files.
type Object interface {
	// Open opens it anew.
	Open(flags int) (*os.File, error)
	// ContentFile is where its bytes go, the caller's to close; nil if it has
	// them.
	ContentFile() (*os.File, error)
	Close() error
}

// ObjectKind is a kind of Object, one record type.
type ObjectKind struct {
	Type  stream.Type
	Check func(rec *stream.Record) []error // what can't be restored here
	// Here says which capabilities it takes that this process lacks.
	Here    func(own *caps.Process, rec *stream.Record) []error
	Restore func(rec *stream.Record, d *depot.Depot, note func(string, ...any)) (Object, error)
}

// reopen opens what is in the depot anew.
func reopen(f *depot.File, flags int) (*os.File, error) {
	fd, err := f.Fd()
	if err != nil {
		return nil, err
	}
	return os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), flags, 0)
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
