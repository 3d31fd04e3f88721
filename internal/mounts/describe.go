package mounts

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/proc"
	"ckpt/stream/record"
)

// Describe emits the records of all namespaces that were added.
func (c *Collector) Describe() error {
	c.markOutside()
	if err := c.noteShared(); err != nil {
		return err
	}
	for _, f := range c.fs {
		if err := c.describe(f); err != nil {
			return fmt.Errorf("pid %d has %s: %w", f.pid, f.at(), err)
		}
	}
	for _, s := range c.spaces {
		for _, m := range s.list {
			if err := c.Emit(record.TypeMount, m.Mount); err != nil {
				return err
			}
		}
	}
	return nil
}

// describe emits the records of a file system, and says what stands in the way.
func (c *Collector) describe(f *fileSystem) error {
	for _, m := range f.mounts {
		if why := m.cannot(); why != "" {
			c.Block(f.pid, fmt.Errorf("has %s mounted at %s, %s", f.Type, short(m.Point), why))
		}
	}
	var err error
	switch f.How {
	case record.FSView:
		err = c.view(f)
	case record.FSFresh:
		err = c.fresh(f)
	case record.FSLayer:
		err = c.layers(f)
	case record.FSHost:
		if f.Type == "overlay" {
			err = c.layers(f)
		}
	}
	if err != nil {
		return err
	}
	for _, m := range f.mounts {
		if err := c.origin(m); err != nil {
			return err
		}
	}
	if f.How != record.FSHost && f.How != record.FSOther {
		if err := f.checkOptions(); err != nil {
			c.Block(f.pid, fmt.Errorf("has a mount, %s, that can't be saved: %w", f.at(), err))
		}
	}
	if err := c.Emit(record.TypeFilesystem, f.Filesystem); err != nil {
		return err
	}
	if f.How == record.FSTree {
		return c.walk(f)
	}
	return nil
}

// cannot says what of a file system can't be mounted again.
func (m *mount) cannot() string {
	first, _, _ := strings.Cut(m.Root[1:], "/")
	_, err := strconv.Atoi(first)
	switch {
	case !isClean(m.Root) || !isClean(m.Point):
		return "which no path leads to from here (" + short(m.Root) + ")"
	case len(m.Root) >= unix.PathMax || len(m.Point) >= unix.PathMax:
		return "whose path is longer than any that can be opened"
	case m.fs.Type == "proc" && err == nil:
		return "which is " + m.Root + ", of a process, and can't be saved"
	case m.Deleted && m.fs.How != record.FSTree:
		return "whose root was deleted, which can't be saved"
	}
	return ""
}

// view makes sure that a file system shows the namespace that the tree is in, which it will
// show when it is mounted again.
func (c *Collector) view(f *fileSystem) error {
	kind := fsTypes[f.Type].ns
	if kind == "" || f.Host || f.mounts[0].f == nil {
		return nil
	}
	at := proc.Living(f.pid)
	its, err := proc.Namespace(f.pid, at, kind)
	if err != nil {
		return err
	}
	own := false
	if kind == "pid" {
		own = pidNamespaceOf(f) == its
	} else if dev, err := devInNamespace(f.Type, proc.ThreadPath(f.pid, at, "ns/"+kind)); err != nil {
		return err
	} else {
		own = dev == f.Dev
	}
	if !own {
		c.Block(f.pid, cli.WithHint(fmt.Errorf("has %s, which shows another %s namespace than its own, and can't be saved", f.at(), kind), "unmount it for the checkpoint"))
	}
	return nil
}

// pidNamespaceOf returns the namespace whose processes a proc file system shows; 0 if that
// can't be told.
func pidNamespaceOf(f *fileSystem) uint64 {
	for _, m := range f.mounts {
		if m.Root != "/" || m.f == nil {
			continue
		}
		names, _ := namesIn(m.f)
		for _, name := range names {
			if ino := pidNamespaceIn(m.f, name); ino != 0 {
				return ino
			}
		}
	}
	return 0
}

// pidNamespaceIn returns the pid namespace of a process in a proc file system, if that has
// one number there: then it is the one that the file system shows.
func pidNamespaceIn(root *os.File, pid string) uint64 {
	if _, err := strconv.Atoi(pid); err != nil {
		return 0
	}
	fd, err := unix.Openat(int(root.Fd()), pid+"/status", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	status := os.NewFile(uintptr(fd), pid)
	text, err := io.ReadAll(status)
	status.Close()
	_, ids, _ := strings.Cut(string(text), "\nNSpid:")
	ids, _, _ = strings.Cut(ids, "\n")
	if err != nil || len(strings.Fields(ids)) != 1 {
		return 0
	}
	link := make([]byte, 64)
	n, err := unix.Readlinkat(int(root.Fd()), pid+"/ns/pid", link)
	if err != nil {
		return 0
	}
	_, ino, _ := proc.ParseNamespace(string(link[:n]))
	return ino
}

// devInNamespace returns the device number that a file system has which shows a namespace:
// there is one for each.
func devInNamespace(fstype, ns string) (dev uint64, err error) {
	f, err := os.Open(ns)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	err = inThread(func() error {
		if err := unix.Setns(int(f.Fd()), 0); err != nil {
			return os.NewSyscallError("setns", err)
		}
		root, err := newFS(fstype, "none", nil, nil)
		if err != nil {
			return err
		}
		defer root.Close()
		st, err := statOf(root)
		dev = devOf(&st)
		return err
	})
	return dev, err
}

// fresh looks for what would be lost.
func (c *Collector) fresh(f *fileSystem) error {
	for _, m := range f.mounts {
		if m.f == nil || m.Mode&unix.S_IFMT != unix.S_IFDIR {
			continue
		}
		names, err := namesIn(m.f)
		if err != nil {
			return err
		}
		for _, name := range names {
			index, err := strconv.Atoi(name)
			switch {
			case f.Type != "devpts":
				c.Block(f.pid, cli.WithHint(fmt.Errorf("has %s with files in it, such as %s, which can't be saved", f.at(), name), "remove them for the checkpoint"))
				return nil
			case err == nil && (c.HasPty == nil || !c.HasPty(f.Dev, index)):
				c.Block(f.pid, cli.WithHint(fmt.Errorf("has devpts mounted at %s, where the pseudoterminal %s belongs to a program that is not saved", m.Point, path.Join(m.Point, name)),
					"close what has it open, such as a shell in the container"))
			}
		}
		return nil
	}
	return nil
}

// origin tells where a mount of the host's is from.
func (c *Collector) origin(m *mount) (err error) {
	if m.fs.How != record.FSHost || m.f == nil {
		if m.fs.How == record.FSOther {
			c.Note(m.fs.pid, cli.WithHint(fmt.Errorf("has %s mounted at %s, which ckpt-collect has nowhere; what takes its place must be said when it is restored", m.fs.Type, m.Point),
				Proposal(m.Point, "")))
		}
		return nil
	}
	if m.Is, err = identify(m.f); err != nil {
		return err
	}
	is := func(h *proc.Mount) bool { return h.Dev == m.fs.Dev && h.FSType == m.fs.Type }
	first := ""
	if slices.ContainsFunc(c.host, func(h proc.Mount) bool { return is(&h) && h.Point == m.Point && h.Root == m.Root }) {
		first = m.Point
	}
	paths := slices.DeleteFunc(candidates(first, c.host, is, m.Root), c.asksServer)
	f, p := find(unix.AT_FDCWD, paths, m.Is, true)
	if f == nil && len(paths) > 0 && !m.isGuess() { // it is covered there
		return nil
	}
	if f == nil || m.isGuess() {
		why := "no path of ckpt-collect leads to"
		if m.isGuess() {
			why = "can't be told from others"
		}
		c.Note(m.fs.pid, cli.WithHint(fmt.Errorf("has %s of a %s file system mounted at %s, which %s; what takes its place must be said when it is restored",
			m.Root, m.fs.Type, m.Point, why), Proposal(m.Point, p)))
		return closed(f)
	}
	m.HostPath = p
	return f.Close()
}

// markOutside notes which peer groups have members, or masters, in no namespace of the tree.
func (c *Collector) markOutside() {
	ours, inside := map[int]bool{}, map[int]bool{}
	for i := range c.host {
		ours[c.host[i].Shared] = true
	}
	for _, s := range c.spaces {
		for _, m := range s.list {
			inside[m.Shared] = true
		}
	}
	for _, s := range c.spaces {
		for _, m := range s.list {
			m.SharedOutside = m.Shared != 0 && ours[m.Shared]
			m.MasterOutside = m.Master != 0 && !inside[m.Master]
		}
	}
}

// layers tells which folders an overlay is made of, and whose they are.
func (c *Collector) layers(f *fileSystem) error {
	var options []string
	for _, o := range f.Options {
		name, value, _ := strings.Cut(o, "=")
		switch name {
		case "lowerdir":
			for i, p := range splitLowers(value) {
				if p != "" {
					f.Layers = append(f.Layers, record.FSLayerDir{Option: name, Path: p})
				} else if i > 0 {
					c.Block(f.pid, fmt.Errorf("has a mount, %s, whose option lowerdir=%s can't be saved", f.at(), value))
				}
			}
		case "lowerdir+", "datadir+", "upperdir", "workdir":
			f.Layers = append(f.Layers, record.FSLayerDir{Option: name, Path: value})
		default:
			options = append(options, o)
		}
	}
	f.Options = options
	for i := range f.Layers {
		if err := c.layer(f, &f.Layers[i]); err != nil {
			return err
		}
	}
	return nil
}

// splitLowers splits the value of lowerdir= at colons that have no backslash before them.
func splitLowers(value string) (paths []string) {
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		switch {
		case value[i] == '\\' && i+1 < len(value):
			i++
			b.WriteByte(value[i])
		case value[i] == ':':
			paths = append(paths, b.String())
			b.Reset()
		default:
			b.WriteByte(value[i])
		}
	}
	return append(paths, b.String())
}

// layer finds out whether the path of a layer is one of the namespace, where the overlay was
// mounted by the program, or the host's, where that which started the container did.
func (c *Collector) layer(f *fileSystem, l *record.FSLayerDir) error {
	if m := f.mounts[0]; isClean(l.Path) && m.parent != nil && !leadsThroughServed(m.root(), l.Path) {
		if dir, err := os.OpenFile(proc.Path(proc.Living(f.pid), "root"), unix.O_PATH|unix.O_DIRECTORY, 0); err == nil {
			inside, err := openPath(int(dir.Fd()), l.Path, noLinks|unix.RESOLVE_IN_ROOT)
			dir.Close()
			if err == nil {
				l.Inside = true
				return inside.Close()
			}
		}
	}
	if isClean(l.Path) && !c.asksServer(l.Path) {
		if at, err := openPath(unix.AT_FDCWD, l.Path, noLinks); err == nil {
			l.Is, err = identify(at)
			return errors.Join(err, at.Close())
		}
	}
	c.Note(f.pid, cli.WithHint(fmt.Errorf("has %s with the folder %s (%s), which is not found; what takes its place must be said when it is restored", f.at(), l.Path, l.Option),
		Proposal(f.mounts[0].Point, "")))
	return nil
}
