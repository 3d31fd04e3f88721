package memory

import (
	"fmt"
	"os"

	"ckpt/internal/depot"
	"ckpt/internal/object"
	"ckpt/stream/record"
)

// objects are the kinds of objects, other than files, that can be mapped shared.
var objects = []struct {
	typ  record.Type
	kind func(r *object.Restart) object.Kind
}{
	{record.TypeShmem, shmemKind},
	{record.TypeSysVShm, sysVShmKind},
}

// Kinds returns all kinds of objects of this package, for a restart.
func Kinds(r *object.Restart) []object.Kind {
	kinds := make([]object.Kind, len(objects))
	for i, o := range objects {
		kinds[i] = o.kind(r)
		kinds[i].Type, kinds[i].Data = o.typ, []record.Type{record.TypeContent}
	}
	return kinds
}

// Types returns the record types of these objects.
func Types() []record.Type {
	types := make([]record.Type, len(objects))
	for i := range objects {
		types[i] = objects[i].typ
	}
	return types
}

// reopen opens a file in the depot again.
func reopen(f *depot.File, flags int) (*os.File, error) {
	fd, err := f.Fd()
	if err != nil {
		return nil, err
	}
	return os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), flags, 0)
}
