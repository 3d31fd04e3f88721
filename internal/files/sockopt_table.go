package files

import (
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/stream/record"
)

// sockSet is a set of the sockets that an option is of.
type sockSet int

const (
	ofUnix sockSet = 1 << iota
	ofTCP          // MPTCP, too, which knows fewer options
	ofUDP          // UDP-Lite, too
	ofRaw          // ICMP, too
	ofNetlink
	ofV6       // with one of the above: of AF_INET6 only
	ofUnlinked // with ofTCP: as long as it is not connected; then the kernel changes it
	ofDgram    = ofUDP | ofRaw
	ofInet     = ofTCP | ofDgram
	ofAll      = ofUnix | ofInet | ofNetlink
)

// optionKind is how an option is read and set.
type optionKind int

const (
	optInt    optionKind = iota
	optText              // bytes up to a NUL
	optBytes             // a structure of this kernel
	optTime              // struct timeval
	optLinger            // struct linger
	optBuf               // a buffer's size, see setSockBuf
	optFilter            // a classic BPF program
)

// sockOption is an option of sockets.
type sockOption struct {
	level, name int
	text        string
	kind        optionKind
	of          sockSet
	since       string // the kernel version, if that is later than those we run on
	// needs are the capabilities of which one is needed to set it; nil: none
	needs func(o *record.LevelOption) caps.Set
}

const (
	soBufLock    = 72 // of asm-generic/socket.h
	soReserveMem = 73
	soTxRehash   = 74
	soRcvMark    = 75
	soPassRights = 83
	icmpFilter   = 1 // of linux/icmp.h and linux/icmpv6.h
	sndBufLocked = 1 // SOCK_SNDBUF_LOCK of SO_BUF_LOCK
	rcvBufLocked = 2
)

// sockOptions are all options that can be read and set, in the order in which they are
// set: IP_TOS before SO_PRIORITY, which it changes; the sizes of buffers before
// SO_BUF_LOCK, which they change; SO_LOCK_FILTER after the filter.
var sockOptions = []sockOption{
	{unix.SOL_SOCKET, unix.SO_DEBUG, "SO_DEBUG", optInt, ofAll, "", ifSet(unix.CAP_NET_ADMIN)},
	{unix.SOL_SOCKET, unix.SO_REUSEADDR, "SO_REUSEADDR", optInt, ofAll, "", nil},
	{unix.SOL_SOCKET, unix.SO_REUSEPORT, "SO_REUSEPORT", optInt, ofInet, "", nil},
	{unix.SOL_SOCKET, unix.SO_DONTROUTE, "SO_DONTROUTE", optInt, ofAll, "", nil},
	{unix.SOL_SOCKET, unix.SO_BROADCAST, "SO_BROADCAST", optInt, ofAll, "", nil},
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE, "SO_KEEPALIVE", optInt, ofAll, "", nil},
	{unix.SOL_SOCKET, unix.SO_OOBINLINE, "SO_OOBINLINE", optInt, ofAll, "", nil},
	{unix.SOL_SOCKET, unix.SO_NO_CHECK, "SO_NO_CHECK", optInt, ofInet, "", nil},
	{unix.SOL_IP, unix.IP_TOS, "IP_TOS", optInt, ofInet, "", nil},
	{unix.SOL_SOCKET, unix.SO_PRIORITY, "SO_PRIORITY", optInt, ofAll, "", ifPriority},
	{unix.SOL_SOCKET, unix.SO_PASSCRED, "SO_PASSCRED", optInt, ofUnix | ofNetlink, "", nil},
	{unix.SOL_SOCKET, unix.SO_RCVLOWAT, "SO_RCVLOWAT", optInt, ofAll, "", nil},
	{unix.SOL_SOCKET, unix.SO_TIMESTAMP, "SO_TIMESTAMP", optInt, ofAll, "", nil},
	{unix.SOL_SOCKET, unix.SO_PASSSEC, "SO_PASSSEC", optInt, ofUnix | ofNetlink, "", nil},
	{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, "SO_TIMESTAMPNS", optInt, ofAll, "", nil},
	{unix.SOL_SOCKET, unix.SO_TIMESTAMPING, "SO_TIMESTAMPING", optInt, ofInet, "", nil},
	{unix.SOL_SOCKET, unix.SO_MARK, "SO_MARK", optInt, ofAll, "", ifSet(unix.CAP_NET_ADMIN, unix.CAP_NET_RAW)},
	{unix.SOL_SOCKET, unix.SO_RXQ_OVFL, "SO_RXQ_OVFL", optInt, ofAll, "", nil},
	{unix.SOL_SOCKET, unix.SO_PEEK_OFF, "SO_PEEK_OFF", optInt, ofUnix | ofDgram, "", nil},
	{unix.SOL_SOCKET, unix.SO_SELECT_ERR_QUEUE, "SO_SELECT_ERR_QUEUE", optInt, ofInet, "", nil},
	{unix.SOL_SOCKET, unix.SO_BUSY_POLL, "SO_BUSY_POLL", optInt, ofInet, "", ifSet(unix.CAP_NET_ADMIN)},
	{unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE, "SO_MAX_PACING_RATE", optBytes, ofInet, "", nil},
	{unix.SOL_SOCKET, unix.SO_INCOMING_CPU, "SO_INCOMING_CPU", optInt, ofInet | ofUnlinked, "", nil},
	{unix.SOL_SOCKET, unix.SO_ZEROCOPY, "SO_ZEROCOPY", optInt, ofInet, "", nil},
	{unix.SOL_SOCKET, unix.SO_TXTIME, "SO_TXTIME", optBytes, ofInet, "", ifSet(unix.CAP_NET_ADMIN)},
	{unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "SO_BINDTODEVICE", optText, ofInet, "", nil},
	{unix.SOL_SOCKET, unix.SO_PREFER_BUSY_POLL, "SO_PREFER_BUSY_POLL", optInt, ofInet, "", ifSet(unix.CAP_NET_ADMIN)},
	{unix.SOL_SOCKET, unix.SO_BUSY_POLL_BUDGET, "SO_BUSY_POLL_BUDGET", optInt, ofInet, "", ifSet(unix.CAP_NET_ADMIN)},
	{unix.SOL_SOCKET, soReserveMem, "SO_RESERVE_MEM", optInt, ofInet, "5.17", nil},
	{unix.SOL_SOCKET, soTxRehash, "SO_TXREHASH", optInt, ofInet | ofUnlinked, "5.18", nil},
	{unix.SOL_SOCKET, soRcvMark, "SO_RCVMARK", optInt, ofInet, "5.19", ifSet(unix.CAP_NET_ADMIN, unix.CAP_NET_RAW)},
	{unix.SOL_SOCKET, unix.SO_PASSPIDFD, "SO_PASSPIDFD", optInt, ofUnix, "6.5", nil},
	{unix.SOL_SOCKET, soPassRights, "SO_PASSRIGHTS", optInt, ofUnix, "6.16", nil},

	{unix.SOL_IP, unix.IP_TTL, "IP_TTL", optInt, ofInet, "", nil},
	{unix.SOL_IP, unix.IP_RECVOPTS, "IP_RECVOPTS", optInt, ofInet, "", nil},
	{unix.SOL_IP, unix.IP_RETOPTS, "IP_RETOPTS", optInt, ofInet, "", nil},
	{unix.SOL_IP, unix.IP_PKTINFO, "IP_PKTINFO", optInt, ofInet, "", nil},
	{unix.SOL_IP, unix.IP_MTU_DISCOVER, "IP_MTU_DISCOVER", optInt, ofInet, "", nil},
	{unix.SOL_IP, unix.IP_RECVERR, "IP_RECVERR", optInt, ofInet, "", nil},
	{unix.SOL_IP, unix.IP_RECVTTL, "IP_RECVTTL", optInt, ofInet, "", nil},
	{unix.SOL_IP, unix.IP_RECVTOS, "IP_RECVTOS", optInt, ofInet, "", nil},
	{unix.SOL_IP, unix.IP_FREEBIND, "IP_FREEBIND", optInt, ofInet, "", nil},
	{unix.SOL_IP, unix.IP_PASSSEC, "IP_PASSSEC", optInt, ofInet, "", nil},
	{unix.SOL_IP, unix.IP_TRANSPARENT, "IP_TRANSPARENT", optInt, ofInet, "", ifSet(unix.CAP_NET_ADMIN, unix.CAP_NET_RAW)},
	{unix.SOL_IP, unix.IP_RECVORIGDSTADDR, "IP_RECVORIGDSTADDR", optInt, ofInet, "", nil},
	{unix.SOL_IP, unix.IP_MINTTL, "IP_MINTTL", optInt, ofInet, "", nil},
	{unix.SOL_IP, unix.IP_CHECKSUM, "IP_CHECKSUM", optInt, ofDgram, "", nil},
	{unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, "IP_BIND_ADDRESS_NO_PORT", optInt, ofInet, "", nil},
	{unix.SOL_IP, unix.IP_RECVFRAGSIZE, "IP_RECVFRAGSIZE", optInt, ofDgram, "", nil},
	{unix.SOL_IP, unix.IP_RECVERR_RFC4884, "IP_RECVERR_RFC4884", optInt, ofInet, "", nil},
	{unix.SOL_IP, unix.IP_MULTICAST_IF, "IP_MULTICAST_IF", optBytes, ofDgram, "", nil},
	{unix.SOL_IP, unix.IP_MULTICAST_TTL, "IP_MULTICAST_TTL", optInt, ofDgram, "", nil},
	{unix.SOL_IP, unix.IP_MULTICAST_LOOP, "IP_MULTICAST_LOOP", optInt, ofDgram, "", nil},
	{unix.SOL_IP, unix.IP_MULTICAST_ALL, "IP_MULTICAST_ALL", optInt, ofDgram, "", nil},
	{unix.SOL_IP, unix.IP_UNICAST_IF, "IP_UNICAST_IF", optInt, ofInet, "", nil},
	{unix.SOL_IP, unix.IP_LOCAL_PORT_RANGE, "IP_LOCAL_PORT_RANGE", optInt, ofInet, "6.3", nil},
	{unix.SOL_IP, unix.IP_OPTIONS, "IP_OPTIONS", optBytes, ofInet, "", nil},

	{unix.SOL_IPV6, unix.IPV6_V6ONLY, "IPV6_V6ONLY", optInt, ofInet | ofV6, "", nil},
	{unix.SOL_IPV6, unix.IPV6_UNICAST_HOPS, "IPV6_UNICAST_HOPS", optInt, ofInet | ofV6, "", nil},
	{unix.SOL_IPV6, unix.IPV6_MULTICAST_IF, "IPV6_MULTICAST_IF", optInt, ofDgram | ofV6, "", nil},
	{unix.SOL_IPV6, unix.IPV6_MULTICAST_HOPS, "IPV6_MULTICAST_HOPS", optInt, ofDgram | ofV6, "", nil},
	{unix.SOL_IPV6, unix.IPV6_MULTICAST_LOOP, "IPV6_MULTICAST_LOOP", optInt, ofDgram | ofV6, "", nil},
	{unix.SOL_IPV6, unix.IPV6_MULTICAST_ALL, "IPV6_MULTICAST_ALL", optInt, ofDgram | ofV6, "", nil},
	{unix.SOL_IPV6, unix.IPV6_UNICAST_IF, "IPV6_UNICAST_IF", optInt, ofInet | ofV6, "", nil},
	{unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, "IPV6_MTU_DISCOVER", optInt, ofInet | ofV6, "", nil},
	{unix.SOL_IPV6, unix.IPV6_RECVERR, "IPV6_RECVERR", optInt, ofInet | ofV6, "", nil},
	{unix.SOL_IPV6, unix.IPV6_RECVERR_RFC4884, "IPV6_RECVERR_RFC4884", optInt, ofInet | ofV6, "", nil},
	{unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, "IPV6_RECVPKTINFO", optInt, ofInet | ofV6, "", nil},
	{unix.SOL_IPV6, unix.IPV6_RECVHOPLIMIT, "IPV6_RECVHOPLIMIT", optInt, ofInet | ofV6, "", nil},
	{unix.SOL_IPV6, unix.IPV6_RECVTCLASS, "IPV6_RECVTCLASS", optInt, ofInet | ofV6, "", nil},
	{unix.SOL_IPV6, unix.IPV6_RECVRTHDR, "IPV6_RECVRTHDR", optInt, ofInet | ofV6, "", nil},
	{unix.SOL_IPV6, unix.IPV6_RECVHOPOPTS, "IPV6_RECVHOPOPTS", optInt, ofInet | ofV6, "", nil},
	{unix.SOL_IPV6, unix.IPV6_RECVDSTOPTS, "IPV6_RECVDSTOPTS", optInt, ofInet | ofV6, "", nil},
	{unix.SOL_IPV6, unix.IPV6_RECVPATHMTU, "IPV6_RECVPATHMTU", optInt, ofInet | ofV6, "", nil},
	{unix.SOL_IPV6, unix.IPV6_RECVORIGDSTADDR, "IPV6_RECVORIGDSTADDR", optInt, ofInet | ofV6, "", nil},
	{unix.SOL_IPV6, unix.IPV6_RECVFRAGSIZE, "IPV6_RECVFRAGSIZE", optInt, ofInet | ofV6, "", nil},
	{unix.SOL_IPV6, unix.IPV6_DONTFRAG, "IPV6_DONTFRAG", optInt, ofInet | ofV6, "", nil},
	{unix.SOL_IPV6, unix.IPV6_TCLASS, "IPV6_TCLASS", optInt, ofInet | ofV6, "", nil},
	{unix.SOL_IPV6, unix.IPV6_AUTOFLOWLABEL, "IPV6_AUTOFLOWLABEL", optInt, ofInet | ofV6, "", nil},
	{unix.SOL_IPV6, unix.IPV6_ADDR_PREFERENCES, "IPV6_ADDR_PREFERENCES", optInt, ofInet | ofV6, "", nil},
	{unix.SOL_IPV6, unix.IPV6_MINHOPCOUNT, "IPV6_MINHOPCOUNT", optInt, ofInet | ofV6, "", nil},
	{unix.SOL_IPV6, unix.IPV6_TRANSPARENT, "IPV6_TRANSPARENT", optInt, ofInet | ofV6, "", ifSet(unix.CAP_NET_ADMIN, unix.CAP_NET_RAW)},
	{unix.SOL_IPV6, unix.IPV6_FREEBIND, "IPV6_FREEBIND", optInt, ofInet | ofV6, "", nil},

	{unix.SOL_TCP, unix.TCP_NODELAY, "TCP_NODELAY", optInt, ofTCP, "", nil},
	{unix.SOL_TCP, unix.TCP_MAXSEG, "TCP_MAXSEG", optInt, ofTCP | ofUnlinked, "", nil},
	{unix.SOL_TCP, unix.TCP_CORK, "TCP_CORK", optInt, ofTCP, "", nil},
	{unix.SOL_TCP, unix.TCP_KEEPIDLE, "TCP_KEEPIDLE", optInt, ofTCP, "", nil},
	{unix.SOL_TCP, unix.TCP_KEEPINTVL, "TCP_KEEPINTVL", optInt, ofTCP, "", nil},
	{unix.SOL_TCP, unix.TCP_KEEPCNT, "TCP_KEEPCNT", optInt, ofTCP, "", nil},
	{unix.SOL_TCP, unix.TCP_SYNCNT, "TCP_SYNCNT", optInt, ofTCP, "", nil},
	{unix.SOL_TCP, unix.TCP_LINGER2, "TCP_LINGER2", optInt, ofTCP, "", nil},
	{unix.SOL_TCP, unix.TCP_DEFER_ACCEPT, "TCP_DEFER_ACCEPT", optInt, ofTCP, "", nil},
	{unix.SOL_TCP, unix.TCP_WINDOW_CLAMP, "TCP_WINDOW_CLAMP", optInt, ofTCP | ofUnlinked, "", nil},
	{unix.SOL_TCP, unix.TCP_QUICKACK, "TCP_QUICKACK", optInt, ofTCP | ofUnlinked, "", nil},
	{unix.SOL_TCP, unix.TCP_CONGESTION, "TCP_CONGESTION", optText, ofTCP, "", ifRestricted},
	{unix.SOL_TCP, unix.TCP_THIN_LINEAR_TIMEOUTS, "TCP_THIN_LINEAR_TIMEOUTS", optInt, ofTCP, "", nil},
	{unix.SOL_TCP, unix.TCP_USER_TIMEOUT, "TCP_USER_TIMEOUT", optInt, ofTCP, "", nil},
	{unix.SOL_TCP, unix.TCP_FASTOPEN, "TCP_FASTOPEN", optInt, ofTCP | ofUnlinked, "", nil},
	{unix.SOL_TCP, unix.TCP_NOTSENT_LOWAT, "TCP_NOTSENT_LOWAT", optInt, ofTCP, "", nil},
	{unix.SOL_TCP, unix.TCP_SAVE_SYN, "TCP_SAVE_SYN", optInt, ofTCP | ofUnlinked, "", nil},
	{unix.SOL_TCP, unix.TCP_FASTOPEN_CONNECT, "TCP_FASTOPEN_CONNECT", optInt, ofTCP | ofUnlinked, "", nil},
	{unix.SOL_TCP, unix.TCP_FASTOPEN_NO_COOKIE, "TCP_FASTOPEN_NO_COOKIE", optInt, ofTCP | ofUnlinked, "", nil},
	{unix.SOL_TCP, unix.TCP_INQ, "TCP_INQ", optInt, ofTCP, "", nil},
	{unix.SOL_TCP, unix.TCP_TX_DELAY, "TCP_TX_DELAY", optInt, ofTCP, "", nil},
	{unix.SOL_TCP, unix.TCP_RTO_MIN_US, "TCP_RTO_MIN_US", optInt, ofTCP, "6.11", nil},
	{unix.SOL_TCP, unix.TCP_DELACK_MAX_US, "TCP_DELACK_MAX_US", optInt, ofTCP, "6.12", nil},

	{unix.SOL_UDP, unix.UDP_ENCAP, "UDP_ENCAP", optInt, ofUDP, "", nil},
	{unix.SOL_UDP, unix.UDP_NO_CHECK6_TX, "UDP_NO_CHECK6_TX", optInt, ofUDP, "", nil},
	{unix.SOL_UDP, unix.UDP_NO_CHECK6_RX, "UDP_NO_CHECK6_RX", optInt, ofUDP, "", nil},
	{unix.SOL_UDP, unix.UDP_SEGMENT, "UDP_SEGMENT", optInt, ofUDP, "", nil},
	{unix.SOL_UDP, unix.UDP_GRO, "UDP_GRO", optInt, ofUDP, "", nil},
	{protoUDPLite, 10, "UDPLITE_SEND_CSCOV", optInt, ofUDP, "", nil},
	{protoUDPLite, 11, "UDPLITE_RECV_CSCOV", optInt, ofUDP, "", nil},

	{unix.SOL_IP, unix.IP_HDRINCL, "IP_HDRINCL", optInt, ofRaw, "", nil},
	{unix.SOL_IP, unix.IP_NODEFRAG, "IP_NODEFRAG", optInt, ofRaw, "", nil},
	{unix.SOL_IPV6, unix.IPV6_HDRINCL, "IPV6_HDRINCL", optInt, ofRaw | ofV6, "", nil},
	{unix.SOL_IPV6, unix.IPV6_CHECKSUM, "IPV6_CHECKSUM", optInt, ofRaw | ofV6, "", nil},
	{unix.SOL_RAW, icmpFilter, "ICMP_FILTER", optBytes, ofRaw, "", nil},
	{unix.SOL_ICMPV6, icmpFilter, "ICMPV6_FILTER", optBytes, ofRaw | ofV6, "", nil},

	{unix.SOL_NETLINK, unix.NETLINK_PKTINFO, "NETLINK_PKTINFO", optInt, ofNetlink, "", nil},
	{unix.SOL_NETLINK, unix.NETLINK_BROADCAST_ERROR, "NETLINK_BROADCAST_ERROR", optInt, ofNetlink, "", nil},
	{unix.SOL_NETLINK, unix.NETLINK_NO_ENOBUFS, "NETLINK_NO_ENOBUFS", optInt, ofNetlink, "", nil},
	{unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, "NETLINK_CAP_ACK", optInt, ofNetlink, "", nil},
	{unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, "NETLINK_EXT_ACK", optInt, ofNetlink, "", nil},
	{unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, "NETLINK_GET_STRICT_CHK", optInt, ofNetlink, "", nil},

	{unix.SOL_SOCKET, unix.SO_SNDTIMEO, "SO_SNDTIMEO", optTime, ofAll, "", nil},
	{unix.SOL_SOCKET, unix.SO_RCVTIMEO, "SO_RCVTIMEO", optTime, ofAll, "", nil},
	{unix.SOL_SOCKET, unix.SO_LINGER, "SO_LINGER", optLinger, ofAll, "", nil},
	{unix.SOL_SOCKET, unix.SO_GET_FILTER, "SO_ATTACH_FILTER", optFilter, ofInet | ofNetlink, "", nil},
	{unix.SOL_SOCKET, unix.SO_LOCK_FILTER, "SO_LOCK_FILTER", optInt, ofInet | ofNetlink, "", nil},
	{unix.SOL_SOCKET, unix.SO_SNDBUF, "SO_SNDBUF", optBuf, ofAll, "", nil},
	{unix.SOL_SOCKET, unix.SO_RCVBUF, "SO_RCVBUF", optBuf, ofAll, "", nil},
	{unix.SOL_SOCKET, soBufLock, "SO_BUF_LOCK", optInt, ofAll, "5.14", nil},
}

// ifSet: any value but zero takes one of these capabilities.
func ifSet(capabilities ...int) func(*record.LevelOption) caps.Set {
	set := caps.Of(capabilities...)
	return func(o *record.LevelOption) caps.Set {
		if o.Value == 0 && len(o.Bytes) == 0 {
			return 0
		}
		return set
	}
}

// ifPriority: see SO_PRIORITY in socket(7).
func ifPriority(o *record.LevelOption) caps.Set {
	if o.Value >= 0 && o.Value <= 6 {
		return 0
	}
	return caps.Of(unix.CAP_NET_ADMIN, unix.CAP_NET_RAW)
}

// ifRestricted: any user may choose only the allowed algorithms, see tcp(7).
func ifRestricted(o *record.LevelOption) caps.Set {
	allowed, err := os.ReadFile("/proc/sys/net/ipv4/tcp_allowed_congestion_control")
	if err != nil || slices.Contains(strings.Fields(string(allowed)), string(o.Bytes)) {
		return 0
	}
	return caps.Of(unix.CAP_NET_ADMIN)
}

// applies reports whether an option is of sockets of this set.
func (row *sockOption) applies(of sockSet) bool {
	const types = ofUnix | ofInet | ofNetlink
	if row.of&ofUnlinked != 0 && of&ofTCP != 0 && of&ofUnlinked == 0 {
		return false
	}
	return row.of&of&types != 0 && (row.of&ofV6 == 0 || of&ofV6 != 0)
}

func findOption(level, name int) *sockOption {
	i := slices.IndexFunc(sockOptions, func(row sockOption) bool { return row.level == level && row.name == name })
	if i < 0 {
		return nil
	}
	return &sockOptions[i]
}
