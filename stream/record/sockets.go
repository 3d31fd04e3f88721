package record

// UnixSock is a unix socket, see unix(7). It has one FILE. What waits in it comes in
// SOCKDATA records.
type UnixSock struct {
	Object
	Ino    uint64 `cbor:"ino"`              // inode number, by which it is named
	Peer   uint64 `cbor:"peer,omitempty"`   // the inode number of the other end; absent: none
	Orphan bool   `cbor:"orphan,omitempty"` // there was another end, which is closed
	Reset  bool   `cbor:"reset,omitempty"`  // and had bytes in it: ECONNRESET is yet to be told
	// Outside: no process of the checkpoint has the other end open.
	Outside bool   `cbor:"outside,omitempty"`
	Kind    int    `cbor:"type" range:"1|2|5"` // SOCK_STREAM 1, SOCK_DGRAM 2, SOCK_SEQPACKET 5
	UID     uint32 `cbor:"uid"`                // st_uid of stat(2)
	GID     uint32 `cbor:"gid"`                // st_gid
	// Shutdown, see shutdown(2): bit 0 for reading, bit 1 for writing.
	Shutdown int          `cbor:"shutdown,omitempty" range:"0..3"`
	SndBuf   int          `cbor:"sndbuf" unit:"byte" range:"0..2^31-1"`        // as SO_SNDBUF reads, twice what was set
	RcvBuf   int          `cbor:"rcvbuf" unit:"byte" range:"0..2^31-1"`        // as SO_RCVBUF reads, twice what was set
	SndTimeo int64        `cbor:"sndtimeo_us,omitempty" unit:"µs" range:"0.."` // SO_SNDTIMEO; absent: none
	RcvTimeo int64        `cbor:"rcvtimeo_us,omitempty" unit:"µs" range:"0.."` // SO_RCVTIMEO; absent: none
	Linger   *Linger      `cbor:"linger,omitempty"`                            // SO_LINGER; absent: off
	Options  []SockOption `cbor:"options,omitempty"`                           // others that are set
	// SO_PEERCRED: who made the pair; of a connection, who made the other end connect
	// or listen; of a socket that listens, who made it do so. Absent where it tells none.
	Maker *PeerCred `cbor:"maker,omitempty"`
	// Name is the address it is bound to, sun_path of unix(7): a path as bind(2) was
	// given it, without the zero byte at its end, or a name that begins with one.
	Name []byte    `cbor:"name,omitempty" since:"0.2" range:"1..108"`
	File *SockFile `cbor:"file,omitempty" since:"0.2"` // what Name made, of a path
	// Accepted: accept(2) made it. Name is that of the socket that was listening.
	Accepted bool    `cbor:"accepted,omitempty" since:"0.2"`
	Listen   *Listen `cbor:"listen,omitempty" since:"0.2"` // it listens
	// PeerName is the Name of the other end if no process of the checkpoint has that.
	PeerName []byte `cbor:"peer_name,omitempty" since:"0.2" range:"1..108"`
}

// SockFile is the file that a unix socket is bound to.
type SockFile struct {
	Stat
	Deleted bool  `cbor:"deleted,omitempty" since:"0.2"` // no path leads to it any more
	Folder  *Stat `cbor:"folder,omitempty" since:"0.2"`  // where it is; absent if it was deleted
}

// Listen is what listen(2) has made of a socket.
type Listen struct {
	Backlog int64 `cbor:"backlog,omitempty" since:"0.2" range:"0..2^32-1"` // how many more connections may wait than one
	// Waiting are the clients of connections that wait to be accepted, by inode number,
	// in order. Those that no process of the checkpoint has are left out.
	Waiting []uint64 `cbor:"waiting,omitempty" since:"0.2"`
}

// PeerCred is struct ucred of SO_PEERCRED, and SO_PEERGROUPS, see unix(7).
type PeerCred struct {
	PID    int      `cbor:"pid" range:"pid or 0"`            // may have ended; 0: of another pid namespace
	UID    uint32   `cbor:"uid"`                             // effective user id
	GID    uint32   `cbor:"gid"`                             // effective group id
	Groups []uint32 `cbor:"groups,omitempty" range:"..2^16"` // supplementary groups
}

// Linger is struct linger of SO_LINGER, see socket(7).
type Linger struct {
	Seconds int `cbor:"seconds" unit:"s" range:"0..2^31-1"` // l_linger
}

// SockOption is an option of level SOL_SOCKET, see socket(7).
type SockOption struct {
	_     struct{} `cbor:",toarray"`
	Name  int      `range:"0..2^31-1"`     // SO_PASSCRED 16 and so on
	Value int      `range:"-2^31..2^31-1"` // as getsockopt(2) gives it
}

// LevelOption is an option of a socket, see socket(7), ip(7), ipv6(7), tcp(7), udp(7)
// and netlink(7).
type LevelOption struct {
	_     struct{} `cbor:",toarray"`
	Level int      `since:"0.2" range:"0..2^31-1"` // SOL_SOCKET 1, SOL_IP 0 and so on
	Name  int      `since:"0.2" range:"0..2^31-1"` // SO_KEEPALIVE 9 and so on
	// Value as getsockopt(2) gives it; of SO_SNDTIMEO and SO_RCVTIMEO in µs, of SO_LINGER
	// in seconds, -1: off.
	Value int64  `since:"0.2"`
	Bytes []byte `since:"0.2"` // in place of Value, where the option is no integer
}

// SockData is the meta of SOCKDATA; its data are bytes that wait in a socket.
type SockData struct {
	// Messages are the lengths of the messages of a SOCK_DGRAM or
	// SOCK_SEQPACKET, whose sum is the data's length.
	Messages []int64 `cbor:"messages,omitempty" unit:"byte"`
	// Creds are who sent them, in order, as SO_PASSCRED tells; absent: not told.
	Creds []SockCreds `cbor:"creds,omitempty"`
	// Senders are the addresses they were sent from, in order, of a SOCK_DGRAM; absent:
	// none has one.
	Senders []SockSender `cbor:"senders,omitempty" since:"0.2"`
	Refs    InodeRef     `cbor:"refs"` // a UNIXSOCK
}

// SockRights is a descriptor in flight (SCM_RIGHTS): part of a message, or of bytes, that
// wait in a socket. Several of the same message come in order.
type SockRights struct {
	// At is the message it is part of, from 0 on; of a stream, where the bytes begin with
	// the first of which it is received.
	At   int64          `cbor:"at,omitempty" range:"0.."`
	Len  int64          `cbor:"len,omitempty" unit:"byte" range:"0.."` // of a stream: how many bytes those are
	Refs SockRightsRefs `cbor:"refs"`                                  // the socket, and what the descriptor has open
}

// SockRightsRefs is the refs map of SOCKRIGHTS.
type SockRightsRefs struct {
	Socket uint64 `cbor:"socket,omitempty" since:"0.2"` // a UNIXSOCK
	File   uint64 `cbor:"file,omitempty" since:"0.2"`   // a FILE
}

// SockSender is the address that a run of messages was sent from.
type SockSender struct {
	Count int64  `cbor:"count,omitempty" since:"0.2" range:"1.."`  // of messages
	Name  []byte `cbor:"name,omitempty" since:"0.2" range:"..108"` // like that of a UNIXSOCK; absent: none
}

// SockCreds is who sent a run of messages, or of a stream's bytes, see
// SCM_CREDENTIALS in unix(7).
type SockCreds struct {
	_     struct{} `cbor:",toarray"`
	Count int64    `range:"1.."`      // of messages or bytes
	PID   int      `range:"pid or 0"` // 0: nobody is named
	UID   uint32   // user id
	GID   uint32   // group id
}
