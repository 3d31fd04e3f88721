package kcmp

import "encoding/binary"

// Identity gives ids to objects known by plain bytes instead of kcmp(2), such
// as an inode. It is not safe for concurrent use.
type Identity struct {
	ids  map[string]uint64
	seen int
}

// NewIdentity returns an empty Identity.
func NewIdentity() *Identity {
	return &Identity{ids: make(map[string]uint64)}
}

// Insert returns the id of the object called key. One not met before gets its
// id from newID, and isNew is true; newID is not called otherwise.
func (m *Identity) Insert(key string, newID func() uint64) (id uint64, isNew bool) {
	m.seen++
	if id, ok := m.ids[key]; ok {
		return id, false
	}
	id = newID()
	m.ids[key] = id
	return id, true
}

// Lookup returns the id of the object called key if it was inserted.
func (m *Identity) Lookup(key string) (id uint64, found bool) {
	id, found = m.ids[key]
	return id, found
}

// Stats returns the counts so far. Calls is always 0.
func (m *Identity) Stats() Stats {
	return Stats{Seen: m.seen, Objects: len(m.ids)}
}

// InodeKey is the key of an inode. Different kinds of object on one inode have
// different keys.
func InodeKey(kind string, dev, ino uint64) string {
	b := make([]byte, 0, 16+len(kind))
	b = binary.LittleEndian.AppendUint64(b, dev)
	b = binary.LittleEndian.AppendUint64(b, ino)
	return string(append(b, kind...))
}
