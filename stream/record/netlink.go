package record

// Netlink is a netlink socket in which nothing waits, see netlink(7). It has one FILE.
type Netlink struct {
	Object
	Ino      uint64 `cbor:"ino"`                             // inode number, by which it is named
	Kind     int    `cbor:"type" range:"2|3"`                // SOCK_DGRAM 2, SOCK_RAW 3
	Protocol int    `cbor:"proto" range:"0|4|15|16"`         // NETLINK_ROUTE 0, SOCK_DIAG 4, KOBJECT_UEVENT 15, GENERIC 16
	Port     uint32 `cbor:"port,omitempty"`                  // of its address, nl_pid; 0: it has none yet
	Groups   []int  `cbor:"groups,omitempty" range:"..2^16"` // that it receives from, ascending from 1
	UID      uint32 `cbor:"uid"`                             // st_uid of stat(2)
	GID      uint32 `cbor:"gid"`                             // st_gid
	// Options are those in which it differs from a new socket.
	Options []LevelOption `cbor:"options,omitempty"`
}
