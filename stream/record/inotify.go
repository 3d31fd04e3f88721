package record

// Inotify is an inotify instance, see inotify(7). It has one FILE. What it watches is told
// by INOTIFYWATCH records.
type Inotify struct {
	Object
	// Waiting is how much waited to be read. It is not in the stream, because only reading
	// shows it, which would take it from the program.
	Waiting int64 `cbor:"waiting,omitempty" unit:"byte" range:"0.."`
}

// InotifyWatch is one file or folder that an inotify instance watches. It stands behind the
// descriptors of all processes. Its path is the one of now, not of when the watch was made.
type InotifyWatch struct {
	Stat
	TID  int    `cbor:"tid" range:"pid"`      // a thread that has the instance open
	WD   int    `cbor:"wd" range:"1..2^31-1"` // the watch descriptor
	Mask uint32 `cbor:"mask"`                 // IN_ bits: events, IN_EXCL_UNLINK and IN_ONESHOT
	// CtimeNS is when it was changed last (st_ctim), since the epoch. If that differs at the
	// restore, events were missed. Absent for a file that was deleted.
	CtimeNS int64       `cbor:"ctime_ns,omitempty" unit:"ns"`
	Deleted bool        `cbor:"deleted,omitempty"` // no path leads to it any more
	Refs    InotifyRefs `cbor:"refs"`              // the instance and what it watches
}

// InotifyRefs is the refs map of INOTIFYWATCH.
type InotifyRefs struct {
	Inotify uint64 `cbor:"inotify,omitempty" since:"0.2"` // the INOTIFY
	Inode   uint64 `cbor:"inode,omitempty" since:"0.2"`   // the file or folder, if the tree has that open
}
