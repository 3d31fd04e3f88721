package record

// FD is a descriptor in a table. In a raw stream its FILE stands right
// before it.
type FD struct {
	TID     int    `cbor:"tid" range:"pid"`   // a thread that has the table
	FD      int    `cbor:"fd" range:"fd"`     // the descriptor
	Cloexec bool   `cbor:"cloexec,omitempty"` // FD_CLOEXEC
	Refs    FDRefs `cbor:"refs"`              // its table and what it has open
}

// FDRefs is the refs map of FD and LOCK.
type FDRefs struct {
	Of   uint64 `cbor:"of"`   // the FDTABLE
	File uint64 `cbor:"file"` // a FILE
}

// File is an open file description (struct file): what dup(2) and fork(2) share.
type File struct {
	Object
	Flags uint32   `cbor:"flags"`                       // O_ access mode and status flags, as in fdinfo without O_CLOEXEC
	Pos   int64    `cbor:"pos" unit:"byte"`             // file offset
	Owner *Owner   `cbor:"owner,omitempty"`             // F_SETOWN_EX; absent: nobody
	Sig   int      `cbor:"sig,omitempty" range:"1..64"` // F_SETSIG
	Refs  InodeRef `cbor:"refs"`                        // what is open: a record of the kind
}

// Owner is struct f_owner_ex, see fcntl(2).
type Owner struct {
	Type int `cbor:"type" range:"0|1|2"`   // F_OWNER_TID 0, PID 1, PGRP 2
	PID  int `cbor:"pid" range:"pid or 0"` // of that type
	// UIDs are the real and effective user id of who set it (F_GETOWNER_UIDS),
	// by which the kernel judges each signal; absent where it does not tell.
	UIDs []uint32 `cbor:"uids,omitempty" range:"2"`
	// When it started, /proc/PID/stat field 22, if it is not in the image; of a group,
	// its leader. One that has its id at the restore and started at another time is
	// not the owner.
	StartTime uint64 `cbor:"start_time,omitempty" unit:"clock tick" since:"0.2"`
}

// Stat is what the kinds with an inode of their own have in common.
type Stat struct {
	Path    string `cbor:"path"`               // in the target's mount namespace, absolute
	Dev     uint64 `cbor:"dev"`                // st_dev of stat(2)
	Ino     uint64 `cbor:"ino"`                // st_ino
	Mode    uint32 `cbor:"mode"`               // st_mode
	UID     uint32 `cbor:"uid"`                // st_uid
	GID     uint32 `cbor:"gid"`                // st_gid
	MtimeNS int64  `cbor:"mtime_ns" unit:"ns"` // st_mtim, since the epoch
	// When the inode was born (statx(2)), since the epoch; absent where the file
	// system does not tell.
	BtimeNS int64 `cbor:"btime_ns,omitempty" unit:"ns"`
	// Its file handle tells it from another that got its number later; absent
	// where the file system has none.
	FH *Handle `cbor:"fh,omitempty"`
	// Follow is for filters that edit Path: the way may have symbolic links, and
	// what it leads to is opened with the task's own rights.
	Follow bool `cbor:"follow,omitempty"`
	// Mount is the MOUNT on which it is, if Path leads to it only from there, because something
	// is mounted over it.
	Mount int `cbor:"mount,omitempty" range:"0.." since:"0.2"`
	// Host: the path is one of the host, and not of the tree's mount namespace.
	Host bool `cbor:"host,omitempty" since:"0.2"`
}

// Reg is a regular file.
type Reg struct {
	Object
	Stat
	Size    int64  `cbor:"size" unit:"byte" range:"0.."` // st_size
	Nlink   uint64 `cbor:"nlink"`                        // st_nlink
	BuildID []byte `cbor:"build_id,omitempty"`           // NT_GNU_BUILD_ID of an ELF file, or the SHA-1 digest of Go's build-id
	// Deleted: no path leads to the file any more; its bytes come in CONTENT
	// records. When Nlink is not 0 it has other names, and Handle finds it.
	Deleted bool    `cbor:"deleted,omitempty"`
	Handle  *Handle `cbor:"handle,omitempty"` // of a deleted file that has other names
	// Xattrs are those of a deleted file.
	Xattrs []Xattr `cbor:"xattrs,omitempty"`
	RWHint uint64  `cbor:"rw_hint,omitempty" range:"0..5"` // F_GET_RW_HINT of a deleted file, see fcntl(2)
}

// Xattr is an extended attribute, see xattr(7).
type Xattr struct {
	_     struct{} `cbor:",toarray"`
	Name  string   // with its namespace: user.mime_type
	Value []byte   // as getxattr(2) gives it
}

// Handle is a file handle of name_to_handle_at(2), good on the file system
// that Path's folder lies on.
type Handle struct {
	Type  int32  `cbor:"type"`                // handle_type
	Bytes []byte `cbor:"bytes" range:"..128"` // f_handle
}

// Dir is a folder.
type Dir struct {
	Object
	Stat
	// Deleted: no path leads to it any more, and nothing is or can be in it.
	Deleted bool    `cbor:"deleted,omitempty" since:"0.2"`
	Xattrs  []Xattr `cbor:"xattrs,omitempty" since:"0.2"` // of a deleted folder
}

// ProcFile is a file or folder of proc(5). One below /proc/PID or
// /proc/PID/task/TID is of a task of the checkpoint.
type ProcFile struct {
	Object
	Path string `cbor:"path" holds:"procpath"` // from /proc on
	Mode uint32 `cbor:"mode"`                  // st_mode of stat(2)
}

// Pipe is the inode beneath both ends of a pipe.
type Pipe struct {
	Object
	Ino      uint64 `cbor:"ino"`                              // inode number, by which it is named
	Capacity int64  `cbor:"capacity" unit:"byte" range:"1.."` // F_GETPIPE_SZ
	Mode     uint32 `cbor:"mode"`                             // st_mode of stat(2)
	UID      uint32 `cbor:"uid"`                              // st_uid
	GID      uint32 `cbor:"gid"`                              // st_gid
	// Some process outside the checkpoint has the reading end open, and none
	// inside.
	OutsideReaders bool `cbor:"outside_readers,omitempty"`
	OutsideWriters bool `cbor:"outside_writers,omitempty"` // likewise the writing end
}

// Fifo is a named pipe, see fifo(7).
type Fifo struct {
	Object
	Stat
	Capacity int64 `cbor:"capacity" unit:"byte" range:"1.."` // F_GETPIPE_SZ
	// Deleted: no path leads to it any more.
	Deleted bool    `cbor:"deleted,omitempty" since:"0.2"`
	Xattrs  []Xattr `cbor:"xattrs,omitempty" since:"0.2"` // of a deleted FIFO
}

// CharDev is a character device of those that keep no state: null, zero, full,
// random, urandom.
type CharDev struct {
	Object
	Stat
	Rdev uint64 `cbor:"rdev"` // st_rdev of stat(2)
}

// TTY is a terminal.
type TTY struct {
	Object
	Stat
	Rdev    uint64 `cbor:"rdev"`                         // st_rdev of stat(2)
	Termios []byte `cbor:"termios,omitempty" range:"44"` // struct termios2 of TCGETS2
	Rows    uint16 `cbor:"rows,omitempty"`               // of its window
	Cols    uint16 `cbor:"cols,omitempty"`               // of its window
	// Line is the device number of the terminal itself, TIOCGDEV of ioctl_tty(2),
	// if its master is in the image: a PTMX with that number.
	Line uint64 `cbor:"line,omitempty" since:"0.2"`
	// It can't be opened again, TIOCEXCL; told only with Line.
	Exclusive bool `cbor:"exclusive,omitempty" since:"0.2"`
}

// Kinds of Lock.
const (
	LockFlock = "flock" // of the open file description, see flock(2)
	LockOFD   = "ofd"   // of the open file description, see fcntl(2)
	LockPosix = "posix" // of the process, see fcntl(2)
	LockLease = "lease" // of the open file description, F_SETLEASE of fcntl(2); since 0.2
)

// Lock is a file lock or lease held through a descriptor.
type Lock struct {
	TID   int    `cbor:"tid" range:"pid"`                         // a thread that has the table
	FD    int    `cbor:"fd" range:"fd"`                           // a descriptor of the file
	Kind  string `cbor:"kind" range:"flock|ofd|posix|lease"`      // flock(2), or one of the three of fcntl(2)
	Write bool   `cbor:"write,omitempty"`                         // nobody else may have it locked
	Start int64  `cbor:"start,omitempty" unit:"byte" range:"0.."` // where it begins
	Len   int64  `cbor:"len,omitempty" unit:"byte" range:"0.."`   // 0: to the end of the file
	Owner int    `cbor:"owner,omitempty" range:"pid"`             // the process that took it; absent: not known
	Refs  FDRefs `cbor:"refs"`                                    // the table and the file
}

// Content is the meta of CONTENT; its data are the bytes of a file or SHMEM at
// Offset. What no record gives is a hole.
type Content struct {
	Offset int64    `cbor:"offset" unit:"byte" range:"0.."` // where data belongs
	Refs   InodeRef `cbor:"refs"`                           // a REG, MEMFD, SHMEM, SYSVSHM or IOURING
}

// PipeData is the meta of PIPEDATA; its data are the bytes waiting in a pipe, of
// all packets after one another.
type PipeData struct {
	// Packets are the lengths of the packets of a pipe in packet mode
	// (O_DIRECT, see pipe(2)), whose sum is the data's length.
	Packets []int64  `cbor:"packets,omitempty" unit:"byte"`
	Refs    InodeRef `cbor:"refs"` // a PIPE or FIFO
}
