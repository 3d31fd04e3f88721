package record

// UnixSock is one end of a pair of unnamed unix sockets, or a lone one, see
// unix(7). It has one FILE. What waits in it comes in SOCKDATA records.
type UnixSock struct {
	Object
	Ino    uint64 `cbor:"ino"`
	Peer   uint64 `cbor:"peer,omitempty"`   // Ino of the other end; 0: none
	Orphan bool   `cbor:"orphan,omitempty"` // there was another end, which is closed
	Reset  bool   `cbor:"reset,omitempty"`  // and had bytes in it: ECONNRESET is yet to be told
	// Outside: no process of the checkpoint has the other end open.
	Outside bool   `cbor:"outside,omitempty"`
	Kind    int    `cbor:"type"` // SOCK_STREAM 1, SOCK_DGRAM 2, SOCK_SEQPACKET 5
	UID     uint32 `cbor:"uid"`
	GID     uint32 `cbor:"gid"`
	// Shutdown, see shutdown(2): bit 0 for reading, bit 1 for writing.
	Shutdown int          `cbor:"shutdown,omitempty"`
	SndBuf   int          `cbor:"sndbuf"` // as SO_SNDBUF reads, twice what was set, bytes
	RcvBuf   int          `cbor:"rcvbuf"`
	SndTimeo int64        `cbor:"sndtimeo_us,omitempty"` // SO_SNDTIMEO, µs; 0: none
	RcvTimeo int64        `cbor:"rcvtimeo_us,omitempty"`
	Linger   *Linger      `cbor:"linger,omitempty"`
	Options  []SockOption `cbor:"options,omitempty"`
	Maker    *PeerCred    `cbor:"maker,omitempty"` // SO_PEERCRED; absent where it tells none
}

// PeerCred is struct ucred of SO_PEERCRED, and SO_PEERGROUPS, see unix(7).
type PeerCred struct {
	PID    int      `cbor:"pid"` // may have ended, 0: of another pid namespace
	UID    uint32   `cbor:"uid"`
	GID    uint32   `cbor:"gid"`
	Groups []uint32 `cbor:"groups,omitempty"`
}

// Linger is struct linger of SO_LINGER, see socket(7).
type Linger struct {
	Seconds int `cbor:"seconds"`
}

// SockOption is an option of level SOL_SOCKET, see socket(7).
type SockOption struct {
	_     struct{} `cbor:",toarray"`
	Name  int      // SO_PASSCRED 16 and so on
	Value int
}

// SockData is the meta of SOCKDATA; data are bytes that wait in a socket.
type SockData struct {
	// Messages are the lengths of the messages of a SOCK_DGRAM or
	// SOCK_SEQPACKET, whose sum is the data's length.
	Messages []int64 `cbor:"messages,omitempty"`
	// Creds are who sent them, in order, as SO_PASSCRED tells; absent: not told.
	Creds []SockCreds `cbor:"creds,omitempty"`
	Refs  InodeRef    `cbor:"refs"`
}

// SockCreds is who sent a run of messages, or of a stream's bytes, see
// SCM_CREDENTIALS in unix(7).
type SockCreds struct {
	_     struct{} `cbor:",toarray"`
	Count int64    // of messages or bytes
	PID   int      // 0: nobody is named
	UID   uint32
	GID   uint32
}
