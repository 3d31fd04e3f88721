package mounts

import (
	"fmt"
	"slices"

	"ckpt/internal/proc"
	"ckpt/stream/record"
)

// Who else has something mounted.

// eachNamespace calls f with a process and the mounts of each mount namespace of the system,
// as far as processes tell, until f returns false.
func eachNamespace(f func(pid int, ns uint64, mounts []proc.Mount) bool) error {
	all, err := proc.Processes()
	if err != nil {
		return err
	}
	seen := map[uint64]bool{}
	for _, pid := range all {
		ns, err := proc.Namespace(pid, pid, "mnt")
		if err != nil || seen[ns] { // it may have ended, or be none of ours
			continue
		}
		mounts, err := proc.Mounts(pid)
		if err != nil {
			continue
		}
		seen[ns] = true
		if !f(pid, ns, mounts) {
			return nil
		}
	}
	return nil
}

// noteShared tells of file systems that are made again and that others have mounted, too:
// they keep the old one.
func (c *Collector) noteShared() error {
	own := map[uint64]bool{}
	for _, s := range c.spaces {
		ns, err := proc.Namespace(s.pid, proc.Living(s.pid), "mnt")
		if err != nil {
			return err
		}
		own[ns] = true
	}
	told := map[*fileSystem]bool{}
	return eachNamespace(func(pid int, ns uint64, mounts []proc.Mount) bool {
		for _, f := range c.fs {
			if own[ns] || told[f] || f.How != record.FSTree && f.How != record.FSFresh {
				continue
			}
			if slices.ContainsFunc(mounts, func(m proc.Mount) bool { return m.Dev == f.Dev && m.FSType == f.Type }) {
				told[f] = true
				comm, _ := proc.ReadComm(pid, pid)
				c.Note(f.pid, fmt.Errorf("has %s, which pid %d (%s) in another mount namespace has, too; when restored, it has one of its own", f.at(), pid, comm))
			}
		}
		return true
	})
}

// overlaidBy returns where an overlay is mounted that writes to a folder, for a message: two
// of them would spoil it.
func overlaidBy(upper string) (where string) {
	_ = eachNamespace(func(pid int, _ uint64, mounts []proc.Mount) bool {
		for i := range mounts {
			if mounts[i].FSType == "overlay" && slices.Contains(mounts[i].Options, "upperdir="+upper) {
				comm, _ := proc.ReadComm(pid, pid)
				where = fmt.Sprintf("%s of pid %d (%s)", mounts[i].Point, pid, comm)
				return false
			}
		}
		return true
	})
	return where
}
