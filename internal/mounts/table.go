package mounts

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"ckpt/internal/proc"
	"ckpt/stream"
	"ckpt/stream/record"
)

// mount is a mount in a table.
type mount struct {
	*record.Mount
	fs     *fileSystem
	parent *mount // nil: it is the root
	kids   []*mount
	rel    string // where it is, from the root of its parent: "/" or "/a/b"

	gone bool // taken off, where a table is taken apart
	// When it is saved:
	src  proc.Mount // as the kernel tells it
	twin *mount     // the same one in a copy of the table

	// When it is restored:
	from   origin
	left   bool     // it is left out
	target *os.File // what it is to be mounted on
	wanted []string // paths on it that must be found, and what was found there
	found  map[string]*os.File

	f *os.File // its root
}

// maxMounts is how many a namespace may have, by default of fs.mount-max, see proc_sys_fs(5).
const maxMounts = 100_000

// arrange builds the tree of a table, in which parents stand before their children, and
// returns its root. No two mounts are on the same place of the same mount.
func arrange(list []*mount) (root *mount, err error) {
	if len(list) > maxMounts {
		return nil, fmt.Errorf("%w: a mount namespace of %d mounts", stream.ErrCorrupt, len(list))
	}
	type place struct {
		on  *mount
		rel string
	}
	byID, taken := map[int]*mount{}, map[place]bool{}
	for _, m := range list {
		if !isClean(m.Point) || !isClean(m.Root) {
			return nil, fmt.Errorf("%w: mount %d of %q at %q", stream.ErrCorrupt, m.ID, short(m.Root), short(m.Point))
		}
		if byID[m.ID] != nil {
			return nil, fmt.Errorf("%w: two mounts are number %d", stream.ErrCorrupt, m.ID)
		}
		byID[m.ID] = m
		m.parent = byID[m.Parent]
		switch {
		case (m.parent == m || m.parent == nil) && root == nil && m.Point == "/":
			m.parent, root, m.rel = nil, m, "/"
			continue
		case m.parent == m:
			return nil, fmt.Errorf("%w: mount %d at %s is on itself, and is not the root", stream.ErrCorrupt, m.ID, short(m.Point))
		case m.parent == nil:
			return nil, fmt.Errorf("%w: mount %d at %s is on mount %d, which does not stand before it", stream.ErrCorrupt, m.ID, short(m.Point), m.Parent)
		}
		if m.rel, err = below(m.parent.Point, m.Point); err != nil {
			return nil, err
		}
		if taken[place{m.parent, m.rel}] {
			return nil, fmt.Errorf("%w: two mounts are at %s of mount %d", stream.ErrCorrupt, short(m.rel), m.Parent)
		}
		taken[place{m.parent, m.rel}] = true
		m.parent.kids = append(m.parent.kids, m)
	}
	if root == nil {
		return nil, fmt.Errorf("%w: a mount namespace without a root", stream.ErrCorrupt)
	}
	return root, nil
}

// shortBytes is how much of a path a message has.
const shortBytes = 200

// short cuts what a stream has for a message.
func short(p string) string {
	if len(p) <= shortBytes {
		return p
	}
	return strings.ToValidUTF8(p[:shortBytes], "") + "…"
}

// isClean reports whether a path is absolute and without anything that leads elsewhere.
func isClean(p string) bool {
	return strings.HasPrefix(p, "/") && path.Clean(p) == p && !strings.Contains(p, "\x00")
}

// below returns a path as seen from a folder.
func below(folder, p string) (string, error) {
	rest, ok := under(folder, p)
	if !ok {
		return "", fmt.Errorf("%w: %s is not below %s", stream.ErrCorrupt, short(p), short(folder))
	}
	return rest, nil
}

// under returns a path as seen from a folder, "/" for that itself.
func under(folder, p string) (rest string, ok bool) {
	if folder == "/" {
		return p, true
	}
	rest, ok = strings.CutPrefix(p, folder)
	switch {
	case !ok || rest != "" && rest[0] != '/':
		return "", false
	case rest == "":
		return "/", true
	}
	return rest, true
}

// kid returns the mount at a place of this one.
func (m *mount) kid(rel string) *mount {
	for _, k := range m.kids {
		if k.rel == rel && k.isThere() {
			return k
		}
	}
	return nil
}

// lookup returns the mount that a path leads to, as path resolution goes.
func (m *mount) lookup(p string) *mount {
	for {
		for k := m.kid("/"); k != nil; k = m.kid("/") {
			m = k
		}
		var next *mount
		for _, k := range m.kids {
			if _, ok := under(k.rel, p); ok && k.isThere() && (next == nil || len(k.rel) < len(next.rel)) {
				next = k
			}
		}
		if next == nil {
			return m
		}
		p, _ = under(next.rel, p)
		m = next
	}
}

// isThere reports whether a mount has not been taken off, and is not left out.
func (m *mount) isThere() bool { return !m.gone && !m.left }

// isLeaf reports whether nothing is mounted on it any more.
func (m *mount) isLeaf() bool {
	for _, k := range m.kids {
		if !k.gone {
			return false
		}
	}
	return true
}

// all lists a mount and what is on it, parents before children, and of the mounts on one
// parent those that would cover others after these.
func (m *mount) all() []*mount { return m.appendTo(nil) }

func (m *mount) appendTo(list []*mount) []*mount {
	list = append(list, m)
	kids := slices.Clone(m.kids)
	slices.SortStableFunc(kids, func(a, b *mount) int { return len(b.rel) - len(a.rel) })
	for _, k := range kids {
		list = k.appendTo(list)
	}
	return list
}
