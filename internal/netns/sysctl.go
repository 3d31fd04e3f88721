package netns

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/stream/record"
)

const sysctlRoot = "/proc/sys/net"

// sysctlFolders are those of sysctlRoot with values that each network namespace has.
var sysctlFolders = []string{"bridge", "core", "ipv4", "ipv6", "mptcp", "netfilter", "unix"}

// isOwn reports whether a namespace has a value to itself, and it is not part of something
// else. Of netfilter there are some that are shown in each namespace, and are those of all, such
// as nf_hooks_lwtunnel.
func isOwn(folder, name string) bool {
	switch {
	case folder == "netfilter":
		return strings.HasPrefix(name, "nf_conntrack_") || strings.HasPrefix(name, "nf_flowtable_")
	case strings.HasPrefix(folder, "netfilter/"):
		return false
	}
	return device(folder) == "" || name != genMode // which is a setting of the LINK
}

const (
	maxSysctlBytes   = 4096
	maxSysctls       = 1024 // in a folder
	maxSysctlFolders = 1 << 14
)

// sysctls reads all values of the calling thread's network namespace that can be written.
func sysctls() (all []record.NetSysctls, err error) {
	root := os.DirFS(sysctlRoot)
	for _, top := range sysctlFolders {
		err := fs.WalkDir(root, top, func(path string, d fs.DirEntry, err error) error {
			switch {
			case path == top && errors.Is(err, fs.ErrNotExist):
				return fs.SkipDir
			case err != nil:
				return err
			case !d.IsDir():
				return nil
			case len(all) == maxSysctlFolders:
				return errTooMany
			}
			s, err := readFolder(root, path)
			if err == nil && len(s.Values) > 0 {
				all = append(all, *s)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

func readFolder(root fs.FS, folder string) (*record.NetSysctls, error) {
	s := &record.NetSysctls{Folder: folder}
	files, err := fs.ReadDir(root, folder)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil || f.IsDir() || info.Mode().Perm()&0o600 != 0o600 || !isOwn(folder, f.Name()) {
			continue
		}
		text, ok, err := readSysctl(root, folder+"/"+f.Name())
		if err != nil {
			return nil, err
		}
		if ok {
			s.Values = append(s.Values, record.NetSysctl{Name: f.Name(), Value: text})
		}
	}
	return s, nil
}

// readSysctl reads a value; ok is false if it has none now.
func readSysctl(root fs.FS, path string) (text string, ok bool, err error) {
	f, err := root.Open(path)
	if err != nil {
		return "", false, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSysctlBytes+1))
	switch {
	case errors.Is(err, unix.EIO), errors.Is(err, unix.EPERM), errors.Is(err, unix.EINVAL): // as ipv6/conf/all/stable_secret
		return "", false, nil
	case err == nil && len(b) > maxSysctlBytes:
		err = fmt.Errorf("%s/%s has more than %d bytes", sysctlRoot, path, maxSysctlBytes)
	}
	return strings.TrimSuffix(string(b), "\n"), true, err
}

// device is the interface that a folder is of, if it is of one.
func device(folder string) string {
	parts := strings.Split(folder, "/")
	if len(parts) == 3 && (parts[1] == "conf" || parts[1] == "neigh") && parts[2] != "all" && parts[2] != "default" {
		return parts[2]
	}
	return ""
}

// isSysctl reports whether a folder and a file in it are ones that sysctls reads.
func isSysctl(folder string, value *record.NetSysctl) bool {
	parts := append(strings.Split(folder, "/"), value.Name)
	for _, p := range parts {
		if p == "" || p == "." || p == ".." || strings.ContainsAny(p, "/\x00") {
			return false
		}
	}
	return slices.Contains(sysctlFolders, parts[0]) && isOwn(folder, value.Name) && !strings.Contains(value.Value, "\x00") && len(value.Value) <= maxSysctlBytes
}

// sysctlWriter writes values of the calling thread's network namespace.
type sysctlWriter struct {
	lacks map[string]bool // which this kernel does not have
}

// write writes the values that differ. Some change others, so it does so again.
func (w *sysctlWriter) write(all []record.NetSysctls, which func(folder string) bool) error {
	const passes = 3
	var err error
	for range passes {
		changed := false
		err = nil
		for i := range all {
			if !which(all[i].Folder) {
				continue
			}
			c, e := w.folder(&all[i])
			changed, err = changed || c, errors.Join(err, e)
		}
		if !changed {
			break
		}
	}
	return err
}

func (w *sysctlWriter) folder(s *record.NetSysctls) (changed bool, err error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS}
	root, err := unix.Open(sysctlRoot, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, &os.PathError{Op: "open", Path: sysctlRoot, Err: err}
	}
	defer unix.Close(root)
	fd, err := unix.Openat2(root, s.Folder, &how)
	if err == unix.ENOENT {
		w.lacks[s.Folder] = true
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%s/%s: %w", sysctlRoot, s.Folder, err)
	}
	folder := os.NewFile(uintptr(fd), s.Folder)
	defer folder.Close()
	for i := range s.Values {
		v := &s.Values[i]
		c, e := writeSysctl(folder, v)
		switch {
		case e == unix.ENOENT:
			w.lacks[s.Folder+"/"+v.Name], e = true, nil
		case e != nil:
			e = fmt.Errorf("set %s/%s/%s to %q: %w", sysctlRoot, s.Folder, v.Name, v.Value, e)
		}
		changed, err = changed || c, errors.Join(err, e)
	}
	return changed, err
}

func writeSysctl(folder *os.File, v *record.NetSysctl) (changed bool, err error) {
	how := unix.OpenHow{Flags: unix.O_RDWR | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS}
	fd, err := unix.Openat2(int(folder.Fd()), v.Name, &how)
	if err != nil {
		return false, err
	}
	f := os.NewFile(uintptr(fd), v.Name)
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSysctlBytes))
	if err == nil && strings.TrimSuffix(string(b), "\n") == v.Value {
		return false, nil
	}
	_, err = f.WriteAt([]byte(v.Value+"\n"), 0)
	return true, err
}
