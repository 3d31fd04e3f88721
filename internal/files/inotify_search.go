package files

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Where a file has no handle that can be opened, a path to it is searched for.

// maxLooked is how many names are looked at, in all, in search of paths.
const maxLooked = 20000

// lookAround notes the folders on the way to what is open, and what is in them. The names
// in the kernel's memory are not enough where it has forgotten that of a watched file.
func (f *finder) lookAround() error {
	l := look{f: f, at: map[int]string{}}
	for _, dir := range f.folders() {
		l.note(dir)
		l.in(dir)
	}
	return l.done()
}

// lookThrough notes what is on a file system of the kernel's own, which has no handles.
func (f *finder) lookThrough(dev uint64) error {
	l := look{f: f, at: map[int]string{}}
	for i := range f.mounts {
		m := &f.mounts[i]
		if m.Dev != dev || fuseName(m.FSType) != "" {
			continue
		}
		l.note(m.Point)
		for next := []string{m.Point}; len(next) > 0 && l.looked < maxLooked; next = next[1:] {
			next = append(next, l.in(next[0])...)
		}
	}
	return l.done()
}

// look notes paths by what an inotify of ours tells of watches on them.
type look struct {
	f      *finder
	at     map[int]string // by watch descriptor
	looked int
}

func (l *look) note(path string) {
	l.looked++
	if l.f.isServed(path) {
		return
	}
	p, err := walk(path, unix.O_PATH|unix.O_NOFOLLOW, false)
	if err != nil {
		return
	}
	defer p.Close()
	if wd, err := l.f.watch(fmt.Sprintf("/proc/self/fd/%d", p.Fd())); err == nil && l.at[wd] == "" {
		l.at[wd] = path
	}
}

// in notes what is in a folder, and returns the folders in it.
func (l *look) in(dir string) (folders []string) {
	if l.f.isServed(dir) {
		return nil
	}
	d, err := walk(dir, unix.O_RDONLY|unix.O_DIRECTORY, false)
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.ReadDir(-1)
	for _, n := range names {
		if l.looked >= maxLooked {
			break
		}
		path := filepath.Join(dir, n.Name())
		l.note(path)
		if n.IsDir() {
			folders = append(folders, path)
		}
	}
	return folders
}

// done makes what was noted known.
func (l *look) done() error {
	all, err := l.f.watched()
	if err != nil {
		return err
	}
	for wd, in := range all {
		l.f.paths[in] = l.at[wd]
	}
	l.f.forget(all)
	return nil
}

// folders are those on the way to what the tree has open, or works in, without those on
// FUSE.
func (f *finder) folders() (list []string) {
	seen := map[string]bool{"": true}
	add := func(path string) {
		for path = filepath.Clean(path); filepath.IsAbs(path); path = filepath.Dir(path) {
			if seen[path] {
				return
			}
			seen[path] = true
			list = append(list, path)
			if path == "/" {
				return
			}
		}
	}
	for i := range f.c.opened {
		add(filepath.Dir(f.c.opened[i].Target))
	}
	for key := range f.c.paths {
		add(key.target)
	}
	slices.SortFunc(list, func(a, b string) int { return strings.Compare(a, b) })
	return slices.DeleteFunc(list, func(path string) bool {
		var st unix.Stat_t
		p, err := f.c.walkQuietly(path)
		if err != nil {
			return true
		}
		defer unix.Close(p)
		fuse, err := f.c.isFUSE(p)
		return fuse || err != nil || unix.Fstat(p, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR
	})
}
