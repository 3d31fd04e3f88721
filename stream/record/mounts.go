package record

// How a file system of a mount namespace comes back.
const (
	FSHost  = "host"  // it is the host's: its mounts are binds of what the host has mounted
	FSView  = "view"  // it shows what the kernel has, such as sysfs: mounted anew, or the host's
	FSTree  = "tree"  // its files are in memory only, such as tmpfs: made again with FSNODE records
	FSFresh = "fresh" // it keeps nothing that is to come back, such as devpts: made again, empty
	FSLayer = "layer" // overlay: mounted again from its layers
	FSOther = "other" // what the image can't give back: the user names what takes its place
)

// Filesystem is one that is mounted in a mount namespace of the tree (a superblock).
type Filesystem struct {
	Object
	Type   string `cbor:"type"`                                         // as in /proc/filesystems
	How    string `cbor:"how" range:"host|view|tree|fresh|layer|other"` // how it comes back
	Source string `cbor:"source,omitempty"`                             // what was given to mount(2), of no meaning to most types
	Dev    uint64 `cbor:"dev"`                                          // st_dev of its files
	// Options are those of the file system, as in /proc/PID/mountinfo, but for ro and rw.
	Options  []string     `cbor:"options,omitempty"`
	ReadOnly bool         `cbor:"read_only,omitempty"` // the file system itself is
	Host     bool         `cbor:"host,omitempty"`      // the collector has it mounted, too
	Layers   []FSLayerDir `cbor:"layers,omitempty"`    // of an overlay
}

// FSLayerDir is a folder of which an overlay is made.
type FSLayerDir struct {
	Option string `cbor:"option" range:"lowerdir|lowerdir+|datadir+|upperdir|workdir" since:"0.2"` // the mount option
	Path   string `cbor:"path" since:"0.2"`                                                        // as it was given
	// Inside: the path is one of the namespace itself and not of the host.
	Inside bool        `cbor:"inside,omitempty" since:"0.2"`
	Is     *FSIdentity `cbor:"is,omitempty" since:"0.2"` // which folder it was, if it is the host's
}

// FSIdentity tells a file or folder of the host from others.
type FSIdentity struct {
	Dev     uint64  `cbor:"dev" since:"0.2"`                          // st_dev of stat(2)
	Ino     uint64  `cbor:"ino" since:"0.2"`                          // st_ino
	Mode    uint32  `cbor:"mode" since:"0.2"`                         // st_mode
	BtimeNS int64   `cbor:"btime_ns,omitempty" unit:"ns" since:"0.2"` // when it was born, see STAT
	FH      *Handle `cbor:"fh,omitempty" since:"0.2"`                 // its file handle
}

// Mount is one mount of a mount namespace. Parents stand before their children.
type Mount struct {
	ID     int    `cbor:"id" range:"0.."`   // as in /proc/PID/mountinfo
	Parent int    `cbor:"parent,omitempty"` // the mount it is mounted on; of the namespace's root: absent
	Root   string `cbor:"root"`             // what of the file system is mounted, a path in it
	Point  string `cbor:"point"`            // where, a path from the namespace's root
	Attr   uint64 `cbor:"attr,omitempty"`   // MOUNT_ATTR_ bits of mount_setattr(2)
	Shared int    `cbor:"shared,omitempty"` // number of its peer group, see mount_namespaces(7)
	Master int    `cbor:"master,omitempty"` // the peer group whose slave it is
	// Some member of that peer group, or of its master's, is in no namespace of the tree.
	SharedOutside bool `cbor:"shared_outside,omitempty"`
	MasterOutside bool `cbor:"master_outside,omitempty"` // likewise all of its master
	Unbindable    bool `cbor:"unbindable,omitempty"`     // MS_UNBINDABLE
	// Deleted: no path leads to its root any more.
	Deleted  bool        `cbor:"deleted,omitempty"`
	Node     uint64      `cbor:"node,omitempty"`      // the number of its root, if that was deleted and is an FSNODE
	Mode     uint32      `cbor:"mode"`                // st_mode of its root
	Is       *FSIdentity `cbor:"is,omitempty"`        // which file or folder of the host its root was
	HostPath string      `cbor:"host_path,omitempty"` // where the collector had that
	Refs     MountRefs   `cbor:"refs"`                // its namespace and file system
}

// MountRefs is the refs map of MOUNT.
type MountRefs struct {
	Of uint64 `cbor:"of,omitempty" since:"0.2"` // the namespace
	FS uint64 `cbor:"fs" since:"0.2"`           // a FILESYSTEM
}

// FSNode is a name in a file system that is a tree. Folders stand before what is in them.
type FSNode struct {
	Node    uint64  `cbor:"node" range:"1.."`                       // its number in the file system; the same for each name of a file
	Path    string  `cbor:"path"`                                   // from the root of the file system
	Mode    uint32  `cbor:"mode"`                                   // st_mode of stat(2)
	UID     uint32  `cbor:"uid"`                                    // st_uid
	GID     uint32  `cbor:"gid"`                                    // st_gid
	Rdev    uint64  `cbor:"rdev,omitempty"`                         // st_rdev of a device
	Size    int64   `cbor:"size,omitempty" unit:"byte" range:"0.."` // of a regular file
	AtimeNS int64   `cbor:"atime_ns" unit:"ns"`                     // st_atim, since the epoch
	MtimeNS int64   `cbor:"mtime_ns" unit:"ns"`                     // st_mtim, since the epoch
	Target  string  `cbor:"target,omitempty"`                       // of a symbolic link
	Xattrs  []Xattr `cbor:"xattrs,omitempty"`                       // all extended attributes
	// Again: it is one more name of a file that stands before.
	Again bool `cbor:"again,omitempty"`
	// Deleted: it has no name any more, and Path is where a mount had it as its root.
	Deleted bool      `cbor:"deleted,omitempty"`
	Refs    FSNodeRef `cbor:"refs"` // its file system
}

// FSNodeRef is the refs map of FSNODE.
type FSNodeRef struct {
	Of uint64 `cbor:"of" since:"0.2"` // the FILESYSTEM
}

// FSData is the meta of FSDATA; its data are bytes of a regular file in a file system that
// is a tree. What no record gives is a hole.
type FSData struct {
	Node   uint64   `cbor:"node" range:"1.."`               // the number of the file
	Offset int64    `cbor:"offset" unit:"byte" range:"0.."` // where data belongs
	Refs   InodeRef `cbor:"refs"`                           // the FILESYSTEM
}
