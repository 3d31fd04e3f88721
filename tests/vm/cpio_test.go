//go:build vm

package vm

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// archive is a cpio archive of the kind "newc", which the kernel unpacks, see
// Documentation/driver-api/early-userspace/buffer-format.rst.
type archive struct {
	b    bytes.Buffer
	has  map[string]bool
	next int // inode number
}

func newArchive() *archive { return &archive{has: map[string]bool{"/": true}} }

// add adds an entry, and the folders it is in, unless there is one of that name.
func (a *archive) add(name string, mode uint32, mtime time.Time, data []byte) {
	if a.has[name] {
		return
	}
	a.dir(filepath.Dir(name))
	a.has[name] = true
	a.entry(strings.TrimPrefix(name, "/"), mode, mtime, data)
}

func (a *archive) entry(name string, mode uint32, mtime time.Time, data []byte) {
	a.next++
	fmt.Fprintf(&a.b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		a.next, mode, 0, 0, 1, max(mtime.Unix(), 0), len(data), 0, 0, 0, 0, len(name)+1, 0, name)
	a.pad()
	a.b.Write(data)
	a.pad()
}

func (a *archive) pad() {
	for a.b.Len()%4 != 0 {
		a.b.WriteByte(0)
	}
}

// end returns the whole archive.
func (a *archive) end() []byte {
	a.entry("TRAILER!!!", 0, time.Unix(0, 0), nil)
	for a.b.Len()%512 != 0 {
		a.b.WriteByte(0)
	}
	return a.b.Bytes()
}

func (a *archive) dir(name string)      { a.add(name, unix.S_IFDIR|0o755, time.Now(), nil) }
func (a *archive) link(name, to string) { a.add(name, unix.S_IFLNK|0o777, time.Now(), []byte(to)) }
func (a *archive) bytes(name string, mode uint32, b []byte) {
	a.add(name, unix.S_IFREG|mode, time.Now(), b)
}

// file adds a file of this machine under a name.
func (a *archive) file(t *testing.T, file, name string) {
	t.Helper()
	info, err := os.Stat(file)
	must(t, err)
	b, err := os.ReadFile(file)
	must(t, err)
	a.add(name, unix.S_IFREG|uint32(info.Mode().Perm()), info.ModTime(), b)
}

// withLinks adds a file under its path, which may be a symbolic link, or lead through
// those that the archive already has.
func (a *archive) withLinks(t *testing.T, path string) {
	t.Helper()
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	must(t, err)
	path = filepath.Join(dir, filepath.Base(path))
	for to, err := os.Readlink(path); err == nil; to, err = os.Readlink(path) {
		a.link(path, to)
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(path), to)
		}
		path = to
	}
	a.file(t, path, path)
}
