package mounts

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"ckpt/stream/record"
)

// fsType is what is known of a type of file system.
type fsType struct {
	how     string
	options []string // those that may be given when it is mounted; those with a value end with "="
	// ns is the kind of namespace that a view shows, by its name in /proc/PID/ns.
	ns string
	// single: there is one for all of the system, and mounting it once more would change its
	// options for everybody. So it is taken from where the host has it, or not at all.
	single bool
}

// fsTypes are the types that are more than what the host has mounted.
var fsTypes = map[string]fsType{
	"tmpfs":     {how: record.FSTree, options: []string{"size=", "nr_blocks=", "nr_inodes=", "mode=", "uid=", "gid=", "huge=", "mpol=", "noswap", "inode32", "inode64"}},
	"ramfs":     {how: record.FSTree, options: []string{"mode="}},
	"devpts":    {how: record.FSFresh, options: []string{"uid=", "gid=", "mode=", "ptmxmode=", "max=", "newinstance"}},
	"hugetlbfs": {how: record.FSFresh, options: []string{"pagesize=", "size=", "min_size=", "nr_inodes=", "mode=", "uid=", "gid="}},
	"proc":      {how: record.FSView, options: []string{"hidepid=", "gid=", "subset="}, ns: "pid"},
	"sysfs":     {how: record.FSView, ns: "net"},
	"mqueue":    {how: record.FSView, ns: "ipc"},
	"overlay": {how: record.FSLayer, options: []string{"default_permissions", "redirect_dir=", "index=", "uuid=", "nfs_export=", "xino=", "metacopy=",
		"verity=", "volatile", "userxattr"}},
	"cgroup":      {how: record.FSView, single: true, options: []string{"name=", "none", "all", "xattr", "noprefix", "clone_children", "cpuset_v2_mode"}},
	"cgroup2":     {how: record.FSView, single: true},
	"devtmpfs":    {how: record.FSView, single: true},
	"binfmt_misc": {how: record.FSView, single: true},
	"debugfs":     {how: record.FSView, single: true},
	"tracefs":     {how: record.FSView, single: true},
	"securityfs":  {how: record.FSView, single: true},
	"configfs":    {how: record.FSView, single: true},
	"pstore":      {how: record.FSView, single: true},
	"efivarfs":    {how: record.FSView, single: true},
	"fusectl":     {how: record.FSView, single: true},
	"selinuxfs":   {how: record.FSView, single: true},
}

// general are options of every file system that the kernel shows with its own.
var general = []string{"ro", "rw", "sync", "dirsync", "mand", "lazytime"}

// controller is the name of a controller, which is an option of a cgroup file system.
var controller = regexp.MustCompile(`^[a-z_]{1,32}$`)

// allows reports whether an option may be given to a new file system of a type.
func (t *fsType) allows(fstype, option string) bool {
	name, _, has := strings.Cut(option, "=")
	if has {
		name += "="
	}
	switch {
	case strings.Contains(option, "\x00"):
		return false
	case slices.Contains(t.options, name):
		return true
	case fstype == "cgroup":
		return !has && controller.MatchString(option)
	}
	return !has && slices.Contains(general[2:], option)
}

// checkOptions returns an error for options that a new file system of this type can't have.
func (f *fileSystem) checkOptions() error {
	t, ok := fsTypes[f.Type]
	if !ok {
		return fmt.Errorf("a file system of type %s can't be made again", short(f.Type))
	}
	if t.single && f.Type != "cgroup" { // it is never mounted anew
		return nil
	}
	for _, o := range f.Options {
		if !t.allows(f.Type, o) {
			return fmt.Errorf("%s has the option %s, which is not known to be harmless", short(f.Type), short(o))
		}
	}
	return nil
}

// isServed reports whether the files of a type are served by a program, or another host,
// which may be asked only by who can wait.
func isServed(fstype string) bool {
	kind, _, _ := strings.Cut(fstype, ".")
	return slices.Contains([]string{"fuse", "fuseblk", "nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "afs", "autofs", "virtiofs"}, kind)
}

// attrFlags are the words of /proc/PID/mountinfo for the MOUNT_ATTR_ bits of mount_setattr(2).
var attrFlags = map[string]uint64{
	"ro": attrReadOnly, "nosuid": 0x2, "nodev": 0x4, "noexec": 0x8, "noatime": 0x10, "nodiratime": 0x80, "nosymfollow": 0x200000,
}

const (
	attrReadOnly    = 0x1
	attrStrictAtime = 0x20
	attrAtime       = 0x70 // what is a number, not bits
	attrKnown       = 0x1 | 0x2 | 0x4 | 0x8 | attrAtime | 0x80 | 0x200000
)

// attrOf makes MOUNT_ATTR_ bits of the flags of a mount.
func attrOf(flags []string) (attr uint64, err error) {
	strict := true
	for _, f := range flags {
		bit, ok := attrFlags[f]
		switch {
		case ok:
			attr |= bit
		case f == "rw", f == "relatime":
		case f == "idmapped":
			return 0, fmt.Errorf("its owners are mapped to others (idmapped)")
		default:
			return 0, fmt.Errorf("it has the flag %s, which is not known", f)
		}
		if f == "relatime" || f == "noatime" {
			strict = false
		}
	}
	if strict {
		attr |= attrStrictAtime
	}
	return attr, nil
}
