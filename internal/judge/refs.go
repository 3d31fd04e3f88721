package judge

import (
	"fmt"
	"slices"

	"ckpt/internal/files"
	"ckpt/internal/memory"
	"ckpt/stream"
	"ckpt/stream/record"
)

// reference is a name in the refs of a type of record: what it may lead to.
type reference struct {
	name   string
	to     []record.Type
	needed bool
}

var (
	folders  = []record.Type{record.TypeDir, record.TypeProcFile}
	programs = []record.Type{record.TypeReg, record.TypeMemFD}
	opened   = []record.Type{record.TypeFile}
)

// references are all but those to what clone(2) shares and to what a record is
// part of. What a reference leads to is opened, mapped or entered later with no
// more questions asked, and some of it by a number that other types have, too.
var references = map[record.Type][]reference{
	record.TypeMM:          {{"exe", programs, true}},
	record.TypeFS:          {{"cwd", folders, true}, {"root", folders, false}},
	record.TypeFile:        {{"inode", files.Types(), true}},
	record.TypeFD:          {{"file", opened, true}},
	record.TypeLock:        {{"file", opened, true}},
	record.TypeEpollTarget: {{"epoll", opened, true}, {"file", opened, true}},
}

// things are what is open or mapped.
var things = slices.Concat(files.Types(), memory.Types())

func isThing(t record.Type) bool { return slices.Contains(things, t) }

// mappable are what a mapping of a kind is of; of any other kind, nothing.
var mappable = map[string][]record.Type{
	record.VMAFile:    {record.TypeReg, record.TypeMemFD, record.TypeCharDev, record.TypeProcFile},
	record.VMADev:     {record.TypeCharDev},
	record.VMAShmem:   {record.TypeShmem},
	record.VMASysVShm: {record.TypeSysVShm},
}

// refs checks that what a record refers to is defined, and of a type it may
// refer to.
func (m *Model) refs(rec *stream.Record) error {
	refs, err := rec.Refs()
	if err != nil {
		return err
	}
	for name, ref := range refs {
		if m.Defined[ref] == nil && ref != 0 {
			return fmt.Errorf("%w: its %s is object %d, which is not defined before", stream.ErrCorrupt, name, ref)
		}
		if name == "exe" {
			m.mapped[ref] = files.Mapped{End: m.mapped[ref].End, Program: true, Exe: true}
		}
		if rec.Type != record.TypeFile {
			m.elsewhere[ref] = true
		}
	}
	for _, to := range references[rec.Type] {
		if err := m.leads(to, refs[to.name]); err != nil {
			return err
		}
	}
	return nil
}

// leads checks a reference.
func (m *Model) leads(r reference, ref uint64) error {
	switch d := m.Defined[ref]; {
	case ref == 0 && r.needed:
		return fmt.Errorf("%w: it has no %s", stream.ErrCorrupt, r.name)
	case ref != 0 && !slices.Contains(r.to, d.Type):
		return fmt.Errorf("%w: its %s is object %d, a %v", stream.ErrCorrupt, r.name, ref, d.Type)
	}
	return nil
}
