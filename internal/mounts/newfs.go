package mounts

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// newFS makes a file system and returns its root, on a mount that is nowhere yet. Layers adds
// what is no text.
func newFS(fstype, source string, options []string, layers func(fd int) error) (*os.File, error) {
	fd, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("file systems of type %s: %w", fstype, err)
	}
	defer unix.Close(fd)
	if source != "" {
		err = unix.FsconfigSetString(fd, "source", source)
	}
	for _, o := range options {
		if err == nil {
			err = setOption(fd, o)
		}
	}
	if err == nil && layers != nil {
		err = layers(fd)
	}
	if err == nil {
		err = unix.FsconfigCreate(fd)
	}
	if err != nil {
		return nil, fmt.Errorf("make a file system of type %s: %w%s", fstype, err, complaint(fd))
	}
	root, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("mount a file system of type %s: %w%s", fstype, err, complaint(fd))
	}
	return os.NewFile(uintptr(root), fstype), nil
}

func setOption(fd int, o string) (err error) {
	if name, value, has := strings.Cut(o, "="); has {
		err = unix.FsconfigSetString(fd, name, value)
	} else {
		err = unix.FsconfigSetFlag(fd, o)
	}
	if err != nil {
		return fmt.Errorf("option %s: %w", o, err)
	}
	return nil
}

// complaint is what the kernel has to say about a file system that it does not make.
func complaint(fd int) string {
	b := make([]byte, 4096)
	n, err := unix.Read(fd, b)
	if err != nil || n <= 2 {
		return ""
	}
	return " (" + strings.TrimSpace(string(b[2:n])) + ")" // after "e ", "w " or "i "
}

// make makes a file system anew, with its options.
func (f *fileSystem) newBase() (*os.File, error) {
	if err := f.checkOptions(); err != nil {
		return nil, err
	}
	t, options := fsTypes[f.Type], f.Options
	if t.single {
		return nil, errors.New("it can't be mounted anew without a change of its options for everybody")
	}
	if f.ReadOnly && f.tree == nil {
		options = append([]string{"ro"}, options...)
	}
	return newFS(f.Type, f.Source, options, nil)
}

// newOverlay makes an overlay of folders below the calling thread's root. Where the kernel
// takes them open it gets them so; else it gets their paths, which are looked at again
// afterwards.
func (r *Restorer) newOverlay(f *fileSystem) (*os.File, error) {
	if err := f.checkOptions(); err != nil {
		return nil, err
	}
	if r.Checking {
		f = f.onlyRead()
	}
	options := f.Options
	if f.ReadOnly {
		options = append([]string{"ro"}, options...)
	}
	dirs, err := r.openLayers(f)
	if err == nil {
		var made *os.File
		made, err = newFS(f.Type, f.Source, options, func(fd int) error { return f.layersOpen(fd, dirs) })
		if err == nil {
			return made, closeAll(dirs)
		}
	}
	if err := errors.Join(ifNot(err, unix.EINVAL), closeAll(dirs)); err != nil {
		return nil, err
	}
	for _, l := range f.Layers {
		if err := fixedWay(l.Path); err != nil && !l.Inside {
			return nil, err
		}
	}
	made, err := newFS(f.Type, f.Source, options, f.layersByName)
	if err != nil {
		return nil, err
	}
	if dirs, err = r.openLayers(f); err != nil {
		return nil, errors.Join(err, made.Close(), closeAll(dirs))
	}
	return made, closeAll(dirs)
}

// ifNot returns err if it is another error than this one.
func ifNot(err, this error) error {
	if errors.Is(err, this) {
		return nil
	}
	return err
}

func closeAll(files []*os.File) error {
	var errs []error
	for _, f := range files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

func (f *fileSystem) layersOpen(fd int, dirs []*os.File) error {
	for i, l := range f.Layers {
		name := l.Option
		if name == "lowerdir" {
			name = "lowerdir+"
		}
		if err := unix.FsconfigSetFd(fd, name, int(dirs[i].Fd())); err != nil {
			return fmt.Errorf("%s %s: %w", l.Option, l.Path, err)
		}
	}
	return nil
}

// layersByName gives an overlay its layers by name, before Linux 6.13.
func (f *fileSystem) layersByName(fd int) error {
	var lowers []string
	for _, l := range f.Layers {
		if l.Option == "lowerdir" || l.Option == "lowerdir+" {
			lowers = append(lowers, strings.NewReplacer(`\`, `\\`, ":", `\:`).Replace(l.Path))
			continue
		}
		if err := unix.FsconfigSetString(fd, l.Option, l.Path); err != nil {
			return fmt.Errorf("%s %s: %w", l.Option, l.Path, err)
		}
	}
	return unix.FsconfigSetString(fd, "lowerdir", strings.Join(lowers, ":"))
}

// fixedWay returns an error if somebody else than root could have a path lead elsewhere for a
// moment.
func fixedWay(p string) error {
	above := false // everybody may rename in the folder above, but only what is his
	for at := range ancestors(p) {
		f, err := openPath(unix.AT_FDCWD, at, noLinks)
		if err != nil {
			return err
		}
		st, err := statOf(f)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
		open, sticky := st.Mode&unix.S_IWOTH != 0 || st.Mode&unix.S_IWGRP != 0 && st.Gid != 0, st.Mode&unix.S_ISVTX != 0
		if above && st.Uid != 0 || at != p && (st.Uid != 0 || open && !sticky) {
			return fmt.Errorf("%s can be moved by others than root, so that an overlay on it can't be made safely on this kernel", at)
		}
		above = open
	}
	return nil
}

// ancestors yields the folders that a clean path leads through, and what it leads to.
func ancestors(p string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := 0; i < len(p); i++ {
			if (i == 0 || p[i] == '/') && !yield(p[:max(i, 1)]) {
				return
			}
		}
		if p != "/" {
			yield(p)
		}
	}
}

// openLayers opens the folders of an overlay: those of the host if they are the ones that they
// were, those of the namespace by its own paths.
func (r *Restorer) openLayers(f *fileSystem) (dirs []*os.File, err error) {
	for i := range f.Layers {
		l := &f.Layers[i]
		d, err := openPath(unix.AT_FDCWD, l.Path, noLinks)
		if err != nil {
			return dirs, err
		}
		dirs = append(dirs, d)
		if l.Inside {
			continue
		}
		if now, err := identify(d); err != nil || !isSame(l.Is, now, r.SameBoot) {
			return dirs, errors.Join(err, fmt.Errorf("%s is no longer the folder that was found", l.Path))
		}
	}
	return dirs, nil
}
