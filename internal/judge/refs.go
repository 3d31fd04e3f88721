package judge

import (
	"fmt"
	"slices"

	"ckpt/internal/files"
	"ckpt/internal/memory"
	"ckpt/stream"
	"ckpt/stream/record"
)

// reference is a field in the refs of a record, and the types it may refer to.
type reference struct {
	name   string
	to     []record.Type
	needed bool
}

var (
	folders  = []record.Type{record.TypeDir, record.TypeProcFile}
	programs = []record.Type{record.TypeReg, record.TypeMemFD}
	opened   = []record.Type{record.TypeFile}

	namespaces = []record.Type{record.TypeNamespace}
)

// references lists all references, except for those to objects that clone(2) shares
// and to the object that a record is part of. Later, the object of a reference is
// opened, mapped or entered without further checks.
var references = map[record.Type][]reference{
	record.TypeTask:         {{record.NamespacePID, namespaces, false}, {record.NamespaceUTS, namespaces, false}, {record.NamespaceIPC, namespaces, false}, {record.NamespaceCgroup, namespaces, false}, {record.NamespaceNet, namespaces, false}, {record.NamespaceMnt, namespaces, false}},
	record.TypeMM:           {{"exe", programs, true}},
	record.TypeFS:           {{"cwd", folders, true}, {"root", folders, false}},
	record.TypeFile:         {{"inode", files.Types(), true}},
	record.TypeFD:           {{"file", opened, true}},
	record.TypeLock:         {{"file", opened, true}},
	record.TypeEpollTarget:  {{"epoll", opened, true}, {"file", opened, true}},
	record.TypeSockRights:   {{"socket", []record.Type{record.TypeUnixSock}, true}, {"file", opened, true}},
	record.TypeInotifyWatch: {{"inotify", []record.Type{record.TypeInotify}, true}, {"inode", []record.Type{record.TypeReg, record.TypeDir, record.TypeMemFD}, false}},
}

// things are the types of objects that can be open or mapped.
var things = slices.Concat(files.Types(), memory.Types())

func isThing(t record.Type) bool { return slices.Contains(things, t) }

// mappable says which objects a kind of mapping may refer to; other kinds refer to
// none.
var mappable = map[string][]record.Type{
	record.VMAFile:    {record.TypeReg, record.TypeMemFD, record.TypeCharDev, record.TypeProcFile},
	record.VMADev:     {record.TypeCharDev},
	record.VMAUring:   {record.TypeIOUring},
	record.VMAShmem:   {record.TypeShmem},
	record.VMASysVShm: {record.TypeSysVShm},
}

// refs checks that the objects that a record refers to are defined and have a type that
// it may refer to.
func (m *Model) refs(rec *stream.Record) error {
	if err := m.links.Read(rec); err != nil {
		return err
	}
	for _, r := range m.links.Refs {
		ref := r.ID
		if m.Defined[ref] == nil && ref != 0 {
			return fmt.Errorf("%w: its %s is object %d, which is not defined before", stream.ErrCorrupt, r.Name, ref)
		}
		if string(r.Name) == "exe" {
			m.mapped[ref] = files.Mapped{End: m.mapped[ref].End, Program: true, Exe: true}
		}
		if rec.Type != record.TypeFile && rec.Type != record.TypeInotifyWatch { // a watch does without what is replaced
			m.usedElsewhere[ref] = true
		}
	}
	for _, to := range references[rec.Type] {
		if err := m.checkRef(to, m.links.Ref(to.name)); err != nil {
			return err
		}
	}
	return nil
}

// checkRef checks a reference.
func (m *Model) checkRef(r reference, ref uint64) error {
	switch d := m.Defined[ref]; {
	case ref == 0 && r.needed:
		return fmt.Errorf("%w: it has no %s", stream.ErrCorrupt, r.name)
	case ref != 0 && !slices.Contains(r.to, d.Type):
		return fmt.Errorf("%w: its %s is object %d, a %v", stream.ErrCorrupt, r.name, ref, d.Type)
	}
	return nil
}
