package files

import (
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
)

// anonNames maps the link of an anonymous inode, without its prefix, to what
// people call it.
var anonNames = map[string]string{
	"[eventfd]": "an eventfd", "[eventpoll]": "an epoll", "[signalfd]": "a signalfd", "[timerfd]": "a timerfd",
	"[io_uring]": "an io_uring", "[userfaultfd]": "a userfaultfd", "[perf_event]": "a perf event", "inotify": "an inotify",
	"[fanotify]": "a fanotify", "[pidfd]": "a pidfd", "bpf-map": "a BPF map", "bpf-prog": "a BPF program",
	"bpf_link": "a BPF link", "[landlock-ruleset]": "a Landlock ruleset", "seccomp notify": "a seccomp listener",
	"kvm-vm": "a KVM machine", "kvm-vcpu:0": "a KVM CPU", "[fscontext]": "a mount in the making", "sync_file": "a fence",
}

// remedy says what can be done about a subject that can't be saved; "" if nothing is known.
func remedy(s *Subject) string {
	switch {
	case isAnon(s, "[fanotify]"):
		return "end the program and start it anew where it is to go on, or switch off in it what watches or guards whole file systems: meanwhile nobody would"
	case hidden(s) == secretMemory:
		return "the kernel lets nobody copy it, so the program has to do without: many have a setting that keeps keys in ordinary memory"
	}
	return ""
}

// unsavable is an error about a descriptor that no kind takes.
func unsavable(s *Subject) error {
	err := fmt.Errorf("fd %d is %s, which can't be saved", s.FD, Describe(s))
	if hint := remedy(s); hint != "" {
		return cli.WithHint(err, hint)
	}
	return err
}

// Describe returns what a subject is, for messages.
func Describe(s *Subject) string {
	if what := hidden(s); what != "" {
		return what
	}
	switch mode := s.Stat.Mode & unix.S_IFMT; {
	case strings.HasPrefix(s.Target, "anon_inode:"):
		name := strings.TrimPrefix(s.Target, "anon_inode:")
		if known := anonNames[name]; known != "" {
			return known
		}
		return "a special file (" + name + ")"
	case strings.HasPrefix(s.Target, "/memfd:"):
		return fmt.Sprintf("a memfd (%s)", strings.TrimSuffix(strings.TrimPrefix(s.Target, "/memfd:"), deletedSuffix))
	case strings.HasPrefix(s.Target, "pidfd:"):
		return "a pidfd"
	case mode == unix.S_IFSOCK && s.FD >= 0:
		return describeSocket(s)
	case mode == unix.S_IFSOCK:
		return fmt.Sprintf("a socket (%s)", s.Target)
	case mode == unix.S_IFCHR && unix.Major(s.Stat.Rdev) == 5 && unix.Minor(s.Stat.Rdev) == ptmxMinor:
		return "a terminal's master side (" + s.Target + ")"
	case mode == unix.S_IFCHR:
		return fmt.Sprintf("the device %s (%d:%d)", s.Target, unix.Major(s.Stat.Rdev), unix.Minor(s.Stat.Rdev))
	case mode == unix.S_IFBLK:
		return fmt.Sprintf("the block device %s", s.Target)
	case mode == unix.S_IFLNK:
		return fmt.Sprintf("a symbolic link (%s)", s.Target)
	case strings.Contains(s.Target, ":["):
		return fmt.Sprintf("a namespace (%s)", s.Target)
	}
	return fmt.Sprintf("a file of an unknown kind (%s)", s.Target)
}

var (
	domains = map[int]string{unix.AF_UNIX: "a unix", unix.AF_INET: "an IPv4", unix.AF_INET6: "an IPv6", unix.AF_NETLINK: "a netlink",
		unix.AF_PACKET: "a packet", unix.AF_VSOCK: "a vsock", unix.AF_ALG: "an AF_ALG", unix.AF_XDP: "an XDP", unix.AF_BLUETOOTH: "a Bluetooth"}
	sockTypes = map[int]string{unix.SOCK_STREAM: "stream", unix.SOCK_DGRAM: "datagram", unix.SOCK_RAW: "raw", unix.SOCK_SEQPACKET: "seqpacket"}
)

// describeSocket names a socket's family, type and addresses.
func describeSocket(s *Subject) string {
	f, err := borrow(s)
	if err != nil {
		return "a socket (" + s.Target + ")"
	}
	defer f.Close()
	fd := int(f.Fd())
	domain, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	typ, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	name := fmt.Sprintf("%s %s socket", orElse(domains[domain], fmt.Sprintf("a family %d", domain)), orElse(sockTypes[typ], fmt.Sprintf("type %d", typ)))
	if (domain == unix.AF_INET || domain == unix.AF_INET6) && typ == unix.SOCK_STREAM {
		name = "a TCP socket"
	} else if (domain == unix.AF_INET || domain == unix.AF_INET6) && typ == unix.SOCK_DGRAM {
		name = "a UDP socket"
		if proto, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL); proto == unix.IPPROTO_ICMP || proto == unix.IPPROTO_ICMPV6 {
			name = "an ICMP socket"
		}
	}
	if local, _ := unix.Getsockname(fd); domain == unix.AF_UNIX { // the reason for the refusal names the peer
		if text := address(local); text != unnamed {
			name += " (" + text + ")"
		}
		return name
	}
	local, _ := unix.Getsockname(fd)
	peer, perr := unix.Getpeername(fd)
	text := address(local)
	if perr == nil {
		text += "->" + address(peer)
	} else if listening, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); listening != 0 {
		text += " listening"
	}
	if strings.HasPrefix(text, noAddress) || text == "0.0.0.0:0" || text == "[::]:0" {
		return name
	}
	return fmt.Sprintf("%s (%s)", name, strings.TrimSpace(text))
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// unnamed stands for the address of a unix socket that has none.
const unnamed = "unnamed"

// noAddress stands for one of a family whose addresses mean nothing to people.
const noAddress = "no address"

func address(sa unix.Sockaddr) string {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)).String()
	case *unix.SockaddrInet6:
		ip := netip.AddrFrom16(a.Addr)
		if a.ZoneId != 0 {
			ip = ip.WithZone(fmt.Sprint(a.ZoneId))
		}
		return netip.AddrPortFrom(ip, uint16(a.Port)).String()
	case *unix.SockaddrUnix:
		if a.Name == "@" { // x/sys writes the NUL of an abstract name as @, also of an empty one
			return unnamed
		}
		return orElse(a.Name, unnamed)
	}
	return noAddress
}
