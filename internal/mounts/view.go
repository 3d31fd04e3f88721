package mounts

import (
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/stream/record"
)

// View is a namespace that was added, as its processes see it.
type View struct{ s *space }

// View returns the view of the namespace that an object is.
func (c *Collector) View(of uint64) *View {
	for _, s := range c.spaces {
		if s.of == of {
			return &View{s}
		}
	}
	return nil
}

// Root is the root folder of its processes, if they have not been confined to another.
func (v *View) Root() *os.File { return v.s.whole }

// Mounts are all its mounts, as its processes see them.
func (v *View) Mounts() []proc.Mount {
	var all []proc.Mount
	for _, m := range v.s.list {
		all = append(all, m.src)
	}
	return all
}

// Find opens what a path leads to on a mount with a number, below all that is mounted over it.
func (v *View) Find(id int, p string) (*os.File, error) {
	for _, m := range v.s.list {
		rest, ok := under(m.Point, p)
		if m.ID != id || !ok || m.f == nil {
			continue
		}
		if rest == "/" {
			return dup(m.f)
		}
		return openPath(int(m.f.Fd()), rest, beneath)
	}
	return nil, unix.ENOENT
}

// Has reports whether a mount with a number is in it.
func (v *View) Has(id int) bool {
	return slices.ContainsFunc(v.s.list, func(m *mount) bool { return m.ID == id })
}

// Travels reports whether the files of a file system, by its device number, are in the stream.
func (v *View) Travels(dev uint64) bool {
	return slices.ContainsFunc(v.s.list, func(m *mount) bool { return m.fs.How == record.FSTree && m.fs.Dev == dev })
}

// HasPTS reports whether a device number is that of a devpts file system at /dev/pts, and only
// whether it is the only one that is mounted.
func (v *View) HasPTS(dev uint64) (has, only bool) {
	at := v.s.root.lookup("/dev/pts")
	other := slices.ContainsFunc(v.s.list, func(m *mount) bool { return m.fs.Type == "devpts" && m.fs.Dev != dev })
	return at.Point == "/dev/pts" && at.fs.Type == "devpts" && at.fs.Dev == dev, !other
}
