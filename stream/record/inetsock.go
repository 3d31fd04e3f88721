package record

// InetSock is a socket of IPv4 or IPv6: of TCP, MPTCP, UDP, UDP-Lite or ICMP, or a raw
// one, see ip(7). It has one FILE. What waits in a connection comes in SOCKDATA records.
type InetSock struct {
	Object
	Ino      uint64 `cbor:"ino"`                           // inode number, by which it is named
	Domain   int    `cbor:"domain" range:"2|10"`           // AF_INET 2, AF_INET6 10
	Kind     int    `cbor:"type" range:"1|2|3"`            // SOCK_STREAM 1, SOCK_DGRAM 2, SOCK_RAW 3
	Protocol int    `cbor:"proto" range:"0..262"`          // IPPROTO_TCP 6, UDP 17, UDPLITE 136, MPTCP 262, ICMP 1, ICMPV6 58; of SOCK_RAW any below 256
	State    int    `cbor:"state" range:"1..11"`           // TCP_ESTABLISHED 1 and so on, as TCP_INFO tells; of others than TCP 1 or TCP_CLOSE 7
	UID      uint32 `cbor:"uid"`                           // st_uid of stat(2)
	GID      uint32 `cbor:"gid"`                           // st_gid
	Backlog  int    `cbor:"backlog,omitempty" range:"0.."` // of listen(2), as the kernel keeps it
	// Local is the address it is bound to; absent: none.
	Local *InetAddr `cbor:"local,omitempty"`
	// Peer is the address it is connected to; absent: none.
	Peer *InetAddr `cbor:"peer,omitempty"`
	// Shutdown, see shutdown(2): bit 0 for reading, bit 1 for writing.
	Shutdown int  `cbor:"shutdown,omitempty" range:"0..3"`
	Ended    bool `cbor:"ended,omitempty"`  // TCP: it was connected, and no longer is
	Failed   bool `cbor:"failed,omitempty"` // TCP: and SO_ERROR has yet to tell why
	// Waiting is what waited in it and is not in the stream: connections that nobody
	// had accepted, or memory that datagrams took.
	Waiting int64 `cbor:"waiting,omitempty" range:"0.."`
	// Unread is how many bytes of SOCKDATA it has, which the program had yet to read.
	Unread int64 `cbor:"unread,omitempty" range:"0.."`
	// Pair is the inode number of the other end of a TCP connection, which is in the
	// stream, too; absent: it is not.
	Pair       uint64       `cbor:"pair,omitempty"`
	PairDomain int          `cbor:"pair_domain,omitempty" range:"0|2|10"` // of that
	Members    []Membership `cbor:"members,omitempty"`                    // multicast groups that it is in
	// Options are those in which it differs from a new socket, and IPV6_V6ONLY.
	Options []LevelOption `cbor:"options,omitempty"`
	// Repair is what it takes to go on with a TCP connection that leads out of the tree;
	// absent: it can't be.
	Repair *TCPRepair `cbor:"repair,omitempty"`
}

// TCPRepair is the state of a TCP connection, see TCP_REPAIR in linux/tcp.h.
type TCPRepair struct {
	SendNext uint32 `cbor:"send_next" since:"0.2"` // sequence number behind all that the program wrote, and behind its FIN
	RecvNext uint32 `cbor:"recv_next" since:"0.2"` // that of what is to be received next
	// Sent is how many bytes were sent and not acknowledged. They are in SOCKSENT records.
	Sent int64 `cbor:"sent,omitempty" since:"0.2" unit:"byte" range:"0..2^28"`
	// Unsent is how many were written and not sent yet. They come behind those.
	Unsent int64 `cbor:"unsent,omitempty" since:"0.2" unit:"byte" range:"0..2^28"`
	// Received is how many bytes SOCKDATA has, which the program has yet to read.
	Received  int64  `cbor:"received,omitempty" since:"0.2" unit:"byte" range:"0..2^28"`
	MSS       int    `cbor:"mss" since:"0.2" unit:"byte" range:"0..65535"`     // the largest segment that the other side takes
	SendScale int    `cbor:"send_scale,omitempty" since:"0.2" range:"0..14"`   // of the windows that the other side tells
	RecvScale int    `cbor:"recv_scale,omitempty" since:"0.2" range:"0..14"`   // of those that this side tells
	SACK      bool   `cbor:"sack,omitempty" since:"0.2"`                       // selective acknowledgments are used
	Stamps    bool   `cbor:"stamps,omitempty" since:"0.2"`                     // time stamps are used
	Stamp     int    `cbor:"stamp,omitempty" since:"0.2" range:"0..2^32-1"`    // what TCP_TIMESTAMP told
	SendWL1   uint32 `cbor:"send_wl1" since:"0.2"`                             // snd_wl1 of TCP_REPAIR_WINDOW, where the window to send was told
	SendWnd   uint32 `cbor:"send_wnd" since:"0.2" unit:"byte"`                 // snd_wnd, the window to send
	MaxWindow uint32 `cbor:"max_window" since:"0.2" unit:"byte"`               // max_window, the largest there was
	RecvWnd   uint32 `cbor:"recv_wnd" since:"0.2" unit:"byte"`                 // rcv_wnd, the window to receive
	RecvWup   uint32 `cbor:"recv_wup" since:"0.2"`                             // rcv_wup, where that was told
	SendBuf   int    `cbor:"send_buf" since:"0.2" unit:"byte" range:"0..2^30"` // SO_SNDBUF
	RecvBuf   int    `cbor:"recv_buf" since:"0.2" unit:"byte" range:"0..2^30"` // SO_RCVBUF
	Clamp     int    `cbor:"clamp" since:"0.2" unit:"byte" range:"0..2^31-1"`  // TCP_WINDOW_CLAMP
}

// SockSent is the meta of SOCKSENT; its data are the bytes that a program wrote to a
// connection and that nobody has acknowledged, those not sent yet last.
type SockSent struct {
	Refs InodeRef `cbor:"refs"` // an INETSOCK
}

// InetAddr is an address of an INETSOCK.
type InetAddr struct {
	IP     []byte `cbor:"ip" since:"0.2"`                            // 4 or 16 bytes, as its domain has them
	Port   int    `cbor:"port" since:"0.2" range:"0..65535"`         // 0: none; of ICMP its identifier
	Scope  uint32 `cbor:"scope,omitempty" since:"0.2"`               // sin6_scope_id, an interface's number
	Device string `cbor:"device,omitempty" since:"0.2" range:"..15"` // the name of that interface
}

// Membership says that a socket is in a multicast group, see MCAST_MSFILTER in ip(7).
type Membership struct {
	Group  []byte `cbor:"group" since:"0.2"`                         // 4 or 16 bytes
	Index  uint32 `cbor:"index,omitempty" since:"0.2"`               // number of the interface
	Device string `cbor:"device,omitempty" since:"0.2" range:"..15"` // its name
	// Include: it receives from Sources only; else from all others.
	Include bool     `cbor:"include,omitempty" since:"0.2"`
	Sources [][]byte `cbor:"sources,omitempty" since:"0.2" range:"..2^12"` // 4 or 16 bytes each
}
