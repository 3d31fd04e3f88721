package task

import (
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/kcmp"
	"ckpt/internal/proc"
	"ckpt/stream/record"
)

// fsResource: working folder, root folder, umask.
var fsResource = row[record.FS]{
	Type:  record.TypeFS,
	Scope: Shared,
	Collect: func(c *Collector) error {
		cwd, err := c.DescribeLink(proc.Path(c.TID, "cwd"))
		if err != nil {
			return err
		}
		fs := record.FS{Object: c.object(kcmp.FS), TID: c.TID, Umask: c.Status.Umask, Refs: record.FSRefs{Cwd: cwd}}
		if differs, err := hasOwnRoot(c.TID, c.Root); err != nil {
			return err
		} else if differs {
			if fs.Refs.Root, err = c.DescribeLink(proc.Path(c.TID, "root")); err != nil {
				return err
			}
		}
		return c.Emit(record.TypeFS, &fs)
	},
	Check: func(fs *record.FS) []error {
		return corruptIf(fs.Umask > 0o777, "a file mode mask of %#o", fs.Umask)
	},
	Here: func(h *Host, fs *record.FS) []error {
		if fs.Refs.Root != 0 {
			return h.Need(caps.Of(unix.CAP_SYS_CHROOT), h.Who(fs.TID), "give %s its root folder")
		}
		return nil
	},
	Restore: func(r *Restorer, fs *record.FS) error {
		r.call("set its umask", unix.SYS_UMASK, uint64(fs.Umask))
		if fs.Refs.Root != 0 {
			if err := r.enter(fs.Refs.Root, true); err != nil {
				return err
			}
		}
		return r.enter(fs.Refs.Cwd, false)
	},
}.resource()

// hasOwnRoot reports whether a process has another root folder than its mount namespace, by
// chroot(2).
func hasOwnRoot(pid int, root string) (bool, error) {
	own, err := rootOf(root)
	if err != nil {
		return false, err
	}
	its, err := rootOf(proc.Path(pid, "root"))
	return own != its, err
}

// rootOf returns the device and inode number of a folder, without asking the server
// of a FUSE file system, which may be stopped.
func rootOf(path string) (id [3]uint64, err error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_STATX_DONT_SYNC, unix.STATX_INO, &st); err != nil {
		return id, fmt.Errorf("root folder %s: %w", path, err)
	}
	return [3]uint64{uint64(st.Dev_major), uint64(st.Dev_minor), st.Ino}, nil
}

// enter makes a folder the puppet's working folder, and if root also its root
// folder.
func (r *Restorer) enter(objref uint64, root bool) error {
	dir, err := r.Open(objref, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	r.open = append(r.open, dir)
	fd := r.Puppet.GiveIn(r.vector(), int(dir.Fd()))
	r.vector().Add("enter "+dir.Name(), unix.SYS_FCHDIR, 0).From(0, fd)
	if root {
		r.callWith("make "+dir.Name()+" its root", []byte(".\x00"), unix.SYS_CHROOT, scratchArg)
	}
	r.vector().Add("close", unix.SYS_CLOSE, 0).From(0, fd)
	if r.TID != r.PID { // there may be many threads, each with a folder open here
		return r.Make()
	}
	return nil
}
