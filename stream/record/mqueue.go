package record

// MQueue is a POSIX message queue, see mq_overview(7). Like a file it stays when nobody has
// it open, and its messages stay in it, so they are not in the stream.
type MQueue struct {
	Object
	Name         string `cbor:"name" range:"1..255"`                   // without the slash before it
	Ino          uint64 `cbor:"ino"`                                   // inode number
	Mode         uint32 `cbor:"mode"`                                  // st_mode
	UID          uint32 `cbor:"uid"`                                   // owner
	GID          uint32 `cbor:"gid"`                                   // group
	MaxMessages  int64  `cbor:"max_messages" range:"1.."`              // how many it has room for
	MessageBytes int64  `cbor:"message_bytes" unit:"byte" range:"1.."` // how long one may be
	Messages     int64  `cbor:"messages,omitempty" range:"0.."`        // how many waited in it
	Deleted      bool   `cbor:"deleted,omitempty"`                     // it has no name any more; then none waited
}
