package mounts

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/stream"
	"ckpt/stream/record"
)

// The folders of overlays.

// checkLayers returns what is wrong with the folders of an overlay, which nothing else has.
func (f *fileSystem) checkLayers() error {
	bad := func(what string, args ...any) error {
		return fmt.Errorf("%w: a file system of type %q %s", stream.ErrCorrupt, short(f.Type), fmt.Sprintf(what, args...))
	}
	lowers := 0
	for _, l := range f.Layers {
		switch {
		case len(l.Path) >= unix.PathMax:
			return bad("with a folder whose path is too long")
		case f.Type != "overlay":
			return bad("with the folder %q", short(l.Path))
		case !slices.Contains([]string{"lowerdir", "lowerdir+", "datadir+", "upperdir", "workdir"}, l.Option):
			return bad("with the folder %q as its %q", short(l.Path), short(l.Option))
		case strings.HasPrefix(l.Option, "lowerdir"):
			lowers++
		}
	}
	if f.How == record.FSLayer && lowers == 0 {
		return bad("without a folder below")
	}
	return nil
}

// checkLayers makes sure that the folders of an overlay are there.
func (r *Restorer) checkLayers(m *mount) error {
	if len(r.users()) > 0 {
		return r.undecided(m, "whose folders an image without a process of root's can't choose")
	}
	for i := range m.fs.Layers {
		l := &m.fs.Layers[i]
		switch {
		case !isClean(l.Path):
			return r.undecided(m, fmt.Sprintf("with the folder %s (%s), whose place is not known", l.Path, l.Option))
		case l.Inside && m.parent == nil:
			return fmt.Errorf("%w: the root is an overlay of folders in itself", stream.ErrCorrupt)
		case l.Inside:
			m.fs.inside = true
			continue
		case l.Is == nil, !canTell(l.Is):
			return r.undecided(m, fmt.Sprintf("with the folder %s (%s), which was not found, or is known by its number only", l.Path, l.Option))
		}
		f, _ := find(unix.AT_FDCWD, []string{l.Path}, l.Is, r.SameBoot)
		if f == nil {
			return r.undecided(m, fmt.Sprintf("with the folder %s (%s), which is not there any more", l.Path, l.Option))
		}
		f.Close()
		if l.Option == "upperdir" {
			if by := overlaidBy(l.Path); by != "" {
				return r.undecided(m, fmt.Sprintf("whose folder %s is in use by the overlay at %s", l.Path, by))
			}
		}
	}
	return nil
}

// onlyRead is an overlay that shows the same and changes nothing: to mount one with its upper
// folder empties its work folder, and writes to both.
func (f *fileSystem) onlyRead() *fileSystem {
	var upper, lowers []record.FSLayerDir
	for _, l := range f.Layers {
		switch l.Option {
		case "upperdir":
			l.Option = "lowerdir"
			upper = append(upper, l)
		case "workdir":
		default:
			lowers = append(lowers, l)
		}
	}
	if upper == nil {
		return f
	}
	rec := *f.Filesystem
	rec.Layers, rec.ReadOnly, rec.Options = append(upper, lowers...), true, nil
	for _, o := range f.Options {
		if name, _, _ := strings.Cut(o, "="); !slices.Contains([]string{"index", "nfs_export", "uuid", "volatile"}, name) { // of upper folders
			rec.Options = append(rec.Options, o)
		}
	}
	return &fileSystem{Filesystem: &rec}
}
