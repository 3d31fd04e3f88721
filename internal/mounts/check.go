package mounts

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/ends"
	"ckpt/internal/proc"
	"ckpt/stream"
	"ckpt/stream/record"
)

// Name is what a mount that leads out is called.
func Name(point string) string { return "mnt:" + point }

// Proposal is a hint that tells how to decide for a mount point; path is the host's that is
// proposed, or "".
func Proposal(point, path string) string {
	if path == "" {
		path = "PATH"
	}
	return fmt.Sprintf("restore it with: %s, or close in place of %s to leave it out", ends.Flag(Name(point), path), path)
}

// origin is where a mount of a restart comes from.
type origin struct {
	path string // of the host; "": its file system is made
	user bool   // the user named it, so it may be whatever it is
	// covered: no path leads there, for something is mounted over it.
	covered bool
}

// Check says everything that stands in the way, before anything is made.
func (r *Restorer) Check() (errs []error) {
	errs = r.CheckPaper()
	if len(errs) > 0 {
		return errs
	}
	var err error
	if r.host, err = proc.Mounts(os.Getpid()); err != nil {
		return []error{err}
	}
	r.confine()
	var found []*mount
	for _, s := range r.list {
		for _, m := range s.list { // parents first
			m.left = m.left || m.parent != nil && m.parent.left
			if m.left {
				continue
			}
			if err := r.resolve(m); err != nil {
				errs = append(errs, err)
			} else if !m.left {
				found = append(found, m)
			}
		}
	}
	for _, m := range found { // it is known by now what is left out
		if err := r.checkReach(m); err != nil {
			errs = append(errs, err)
		} else if err := r.checkBelow(m); err != nil {
			errs = append(errs, err)
		} else if err := r.checkPlace(m); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// CheckPaper says what in the records no kernel can have told.
func (r *Restorer) CheckPaper() (errs []error) {
	add := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	for _, fs := range r.order {
		add(fs.check())
	}
	for _, s := range r.list {
		var err error
		s.root, err = arrange(s.list)
		add(err)
		if err == nil && s.root.kid("/") != nil { // paths would lead below it
			add(fmt.Errorf("%w: a mount namespace whose root is covered by another mount", stream.ErrCorrupt))
		}
		for _, m := range s.list {
			add(m.check())
		}
	}
	return errs
}

// check returns what is wrong with the record of a file system.
func (f *fileSystem) check() error {
	if err := f.checkLayers(); err != nil {
		return err
	}
	t, known := fsTypes[f.Type]
	switch f.How {
	case record.FSHost, record.FSOther:
		return nil
	case record.FSView, record.FSTree, record.FSFresh, record.FSLayer:
		if !known || t.how != f.How {
			return fmt.Errorf("%w: a file system of type %q that is %s", stream.ErrCorrupt, short(f.Type), f.How)
		}
	default:
		return fmt.Errorf("%w: a file system that is %q", stream.ErrCorrupt, short(f.How))
	}
	if strings.Contains(f.Source, "\x00") {
		return fmt.Errorf("%w: a file system of %q", stream.ErrCorrupt, short(f.Source))
	}
	if err := f.checkOptions(); err != nil {
		return fmt.Errorf("%w: a file system: %w", stream.ErrCorrupt, err)
	}
	return nil
}

// check returns what is wrong with the record of a mount.
func (m *mount) check() error {
	bad := func(what string, args ...any) error {
		return fmt.Errorf("%w: the mount at %s %s", stream.ErrCorrupt, short(m.Point), fmt.Sprintf(what, args...))
	}
	switch {
	case len(m.Root) >= unix.PathMax || len(m.Point) >= unix.PathMax || len(m.HostPath) >= unix.PathMax:
		return bad("has a path that is too long")
	case m.Attr&^attrKnown != 0 || m.Attr&attrAtime == attrAtime || m.Attr&attrAtime > attrStrictAtime:
		return bad("has the attributes %#x", m.Attr)
	case m.HostPath != "" && !isClean(m.HostPath):
		return bad("was %q of the host", short(m.HostPath))
	case m.fs.How == record.FSHost && m.Is == nil:
		return bad("is of the host and does not tell what its root is")
	case m.fs.tree == nil && m.Deleted:
		return bad("has a deleted root")
	case m.fs.tree == nil:
		return nil
	}
	n := m.fs.tree.at[m.Root]
	if m.Deleted {
		n = m.fs.tree.byNode[m.Node]
	}
	if n == nil || (n.Mode^m.Mode)&unix.S_IFMT != 0 || n.Deleted != m.Deleted {
		return bad("has %s as its root, which is not there", short(m.Root))
	}
	return nil
}

// resolve finds out where a mount comes from.
func (r *Restorer) resolve(m *mount) error {
	if r.Decided != nil {
		if d := r.Decided(m.Point); d != nil && d.Action == ends.Close && m.parent != nil {
			m.left = true
			return nil
		} else if d != nil && r.isMeant(m) {
			return r.byUser(m, d.Path, ends.Flag(Name(m.Point), d.Path))
		}
	}
	if m.parent == nil && r.Root != "" {
		return r.byUser(m, r.Root, "--root "+r.Root)
	}
	switch m.fs.How {
	case record.FSHost:
		return r.fromHost(m)
	case record.FSView:
		return r.viewOf(m)
	case record.FSLayer:
		return r.checkLayers(m)
	case record.FSOther:
		return r.undecided(m, "which is not part of the image")
	}
	return nil
}

// isMeant reports whether a path for a mount point takes the place of this mount: of several
// at one point, of those from outside.
func (r *Restorer) isMeant(m *mount) bool {
	outside := func(m *mount) bool {
		return slices.Contains([]string{record.FSHost, record.FSOther, record.FSLayer}, m.fs.How)
	}
	for _, other := range r.spaces[m.Refs.Of].list {
		if other.Point == m.Point && outside(other) {
			return outside(m)
		}
	}
	return m.parent == nil || m.parent.Point != m.Point
}

// byUser takes what the user named.
func (r *Restorer) byUser(m *mount, p, flag string) (err error) {
	if p, err = filepath.Abs(p); err != nil {
		return err
	}
	st, err := os.Stat(p)
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	if want := m.Mode&unix.S_IFMT == unix.S_IFDIR; st.IsDir() != want {
		return fmt.Errorf("%s: %s %s, and what was mounted at %s %s", flag, p, folderOrNot[st.IsDir()], m.Point, folderOrNot[want])
	}
	m.from = origin{path: p, user: true}
	return nil
}

var folderOrNot = map[bool]string{true: "is a folder", false: "is no folder"}

// fromHost finds what a mount showed among the mounts of the host.
func (r *Restorer) fromHost(m *mount) error {
	if isServed(m.fs.Type) && !r.SameBoot { // one is as another
		return r.undecided(m, "which can't be told from others after a reboot")
	}
	switch {
	case m.isGuess() && len(m.fs.Layers) > 0:
		return r.checkLayers(m)
	case m.isGuess():
		return r.undecided(m, "which has neither a file handle nor a time of birth to know it by")
	}
	is := func(h *proc.Mount) bool {
		return h.FSType == m.fs.Type && (!r.SameBoot || h.Dev == m.fs.Dev)
	}
	paths := candidates("", r.host, is, m.Root)
	if canTell(m.Is) { // it could be anywhere
		paths = append([]string{m.HostPath}, paths...)
	}
	f, p := find(unix.AT_FDCWD, paths, m.Is, r.SameBoot)
	if f != nil {
		m.from.path = p
		return f.Close()
	}
	if p := r.coveredPath(m, is); p != "" && r.SameBoot {
		m.from = origin{path: p, covered: true}
		return nil
	}
	if len(m.fs.Layers) > 0 {
		return r.checkLayers(m)
	}
	return r.undecided(m, "which is not found here any more")
}

// coveredPath returns where the host has what a mount showed below other mounts, "" if it has
// nothing there.
func (r *Restorer) coveredPath(m *mount, is func(*proc.Mount) bool) string {
	root, err := r.hostTable()
	if err != nil {
		return ""
	}
	for _, h := range r.table {
		if rest, ok := under(h.Root, m.Root); ok && is(&h.src) {
			if p := path.Join(h.Point, rest); root.lookup(p) != h {
				return p
			}
		}
	}
	return ""
}

// hostTable returns the root of what the host has mounted.
func (r *Restorer) hostTable() (root *mount, err error) {
	if r.table == nil {
		list := parentsFirst(r.host)
		if _, err := arrange(list); err != nil {
			return nil, err
		}
		r.table = list
	}
	return r.table[0], nil
}

func (r *Restorer) undecided(m *mount, why string) error {
	return cli.WithHint(fmt.Errorf("at %s was mounted %s of a %s file system, %s", m.Point, m.Root, m.fs.Type, why), Proposal(m.Point, m.HostPath))
}

// viewOf finds where the host has a view of the kernel's state; it is mounted anew if it has
// it not, or if there are several that differ.
func (r *Restorer) viewOf(m *mount) error {
	t := fsTypes[m.fs.Type]
	if m.fs.Host && r.SameBoot && !(r.Apart && m.fs.Type == "proc") && r.sameView(m) {
		return nil
	}
	if t.single || m.fs.Host {
		for i := range r.host {
			h := &r.host[i]
			rest, ok := under(h.Root, m.Root)
			if h.FSType != m.fs.Type || !ok || !isSameView(h, m.fs) {
				continue
			}
			if f, err := openPath(unix.AT_FDCWD, path.Join(h.Point, rest), noLinks); err == nil {
				m.from.path = f.Name()
				return f.Close()
			}
		}
	}
	if t.single {
		return r.undecided(m, "which is not found here")
	}
	if m.fs.Type == "proc" && len(r.users()) > 0 && r.hidesLess(m.fs) {
		return r.undecided(m, "which would show processes that /proc hides here from ordinary users")
	}
	return nil
}

// sameView finds the very file system that a mount showed, in the same boot.
func (r *Restorer) sameView(m *mount) bool {
	is := func(h *proc.Mount) bool { return h.FSType == m.fs.Type && h.Dev == m.fs.Dev }
	for _, p := range candidates("", r.host, is, m.Root) {
		f, err := openPath(unix.AT_FDCWD, p, noLinks)
		if err != nil {
			continue
		}
		st, err := statOf(f)
		f.Close()
		if err == nil && devOf(&st) == m.fs.Dev {
			m.from.path = p
			return true
		}
	}
	if p := r.coveredPath(m, is); p != "" {
		m.from = origin{path: p, covered: true}
		return true
	}
	return false
}

// isSameView reports whether a mount of the host shows the same.
func isSameView(h *proc.Mount, fs *fileSystem) bool {
	switch fs.Type {
	case "cgroup":
		return slices.Equal(hierarchy(h.Options), hierarchy(fs.Options))
	case "proc":
		return slices.Equal(slices.DeleteFunc(slices.Clone(h.Options), func(o string) bool { return o == "rw" || o == "ro" }), fs.Options)
	}
	return true
}

// hierarchy returns the name and controllers of a cgroup file system, in order.
func hierarchy(options []string) (words []string) {
	for _, o := range options {
		if strings.HasPrefix(o, "name=") || !strings.Contains(o, "=") && !slices.Contains(fsTypes["cgroup"].options, o) && !slices.Contains(general, o) {
			words = append(words, o)
		}
	}
	slices.Sort(words)
	return words
}

// checkPlace makes sure that there is something to mount on, where that can be known.
func (r *Restorer) checkPlace(m *mount) error {
	p := m.parent
	if p == nil || m.rel == "/" || m.left {
		return nil
	}
	isDir := m.Mode&unix.S_IFMT == unix.S_IFDIR
	var there, thereDir bool
	switch {
	case p.from.covered:
		return nil
	case p.from.path != "":
		var st unix.Stat_t
		err := unix.Lstat(path.Join(p.from.path, m.rel), &st)
		there, thereDir = err == nil, st.Mode&unix.S_IFMT == unix.S_IFDIR
	case p.fs.tree != nil:
		n := p.fs.tree.at[path.Join(p.Root, m.rel)]
		there, thereDir = n != nil, n != nil && n.Mode&unix.S_IFMT == unix.S_IFDIR
	default:
		return nil
	}
	if there && thereDir == isDir {
		return nil
	}
	what, how := "file", "touch "
	if isDir {
		what, how = "folder", "mkdir -p "
	}
	err := fmt.Errorf("%s was mounted at %s, where no %s is now", m.fs.Type, m.Point, what)
	if p.from.path == "" {
		return fmt.Errorf("%w: %w", stream.ErrCorrupt, err)
	}
	return cli.WithHint(err, "make one: "+how+path.Join(p.from.path, m.rel)+"; or leave the mount out with: "+ends.Flag(Name(m.Point), "close"))
}
