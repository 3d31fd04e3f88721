package files

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/cli"
	"ckpt/internal/object"
	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// netlinkKind: netlink sockets of protocols that keep nothing of a socket but its
// address and groups, while nothing waits in them.
var netlinkKind = Kind{
	Type: record.TypeNetlink,
	Save: func(c *Collector) Saver {
		n := &netlinks{c, map[uint64]uint64{}}
		return Saver{Match: isNetlink, Collect: n.collect}
	},
	Restore: func(r *Restorer) Maker {
		return Maker{Kind: object.Kind{Check: r.checkNetlink, Here: r.netlinkHere, Make: r.makeNetlink}}
	},
}

// netlinkProtocols can be saved. Of others, such as NETLINK_NETFILTER, the kernel keeps
// state that belongs to a socket and is not shown, once that has an address, which it gets
// when it is used.
var netlinkProtocols = []int{unix.NETLINK_ROUTE, unix.NETLINK_SOCK_DIAG, unix.NETLINK_KOBJECT_UEVENT, unix.NETLINK_GENERIC}

// maxNetlinkProtocol is the last, MAX_LINKS of uapi linux/netlink.h without one.
const maxNetlinkProtocol = 31

// maxNetlinkGroup is more than any protocol has.
const maxNetlinkGroup = 1 << 16

func isNetlink(s *Subject) bool {
	t, ok := socketType(s)
	return ok && t.domain == unix.AF_NETLINK
}

// netlinks is what a checkpoint knows about netlink sockets.
type netlinks struct {
	c    *Collector
	seen map[uint64]uint64 // records by inode number
}

// collect describes a socket the first time it is called for it.
func (n *netlinks) collect(s *Subject) (uint64, error) {
	if id := n.seen[s.Stat.Ino]; id != 0 {
		return id, nil
	}
	f, err := borrow(s)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	rec := record.Netlink{Object: record.Object{ID: n.c.NewID(), Ident: ident(record.TypeNetlink, s.Stat.Dev, s.Stat.Ino)},
		Ino: s.Stat.Ino, UID: s.Stat.Uid, GID: s.Stat.Gid}
	why, hint, err := readNetlink(int(f.Fd()), &rec)
	if err != nil {
		return 0, err
	}
	if why != "" {
		n.c.Block(s.PID, cli.WithHint(fmt.Errorf("fd %d is %s %s, which can't be saved", s.FD, Describe(s), why), hint))
		return 0, nil
	}
	n.seen[rec.Ino] = rec.ID
	return rec.ID, n.c.Emit(record.TypeNetlink, &rec)
}

// readNetlink fills in what a socket is, and says why it can't be saved, and what to
// do; or "".
func readNetlink(fd int, rec *record.Netlink) (why, hint string, err error) {
	if elsewhere(fd) {
		return "of another network namespace", "save it from inside that, see nsenter(1)", nil
	}
	var errs [3]error
	rec.Kind, errs[0] = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	rec.Protocol, errs[1] = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	local, err := unix.Getsockname(fd)
	peer, perr := unix.Getpeername(fd)
	now, listed, lerr := proc.ReadNetlink(rec.Ino)
	if err := errors.Join(errs[0], errs[1], err, perr, lerr); err != nil {
		return "", "", err
	}
	self, ok := local.(*unix.SockaddrNetlink)
	to, okTo := peer.(*unix.SockaddrNetlink)
	switch {
	case !ok || !okTo:
		return "of an unknown kind", "", nil
	case self.Pid != 0 && !slices.Contains(netlinkProtocols, rec.Protocol):
		return fmt.Sprintf("of the protocol %d, of which the kernel may keep more than it shows", rec.Protocol), "close it before, and open it again", nil
	case to.Pid != 0 || to.Groups != 0:
		return fmt.Sprintf("connected to port %d and groups %#x", to.Pid, to.Groups), "connect it to the kernel before, port 0", nil
	case now.Waiting > 0:
		return "with messages in it", "save it when the program has read them", nil
	case listed && now.Dumping:
		return "that is in the middle of an answer", "save it when the program has read all of that", nil
	}
	if _, err := sys.SocketFilter(fd); errors.Is(err, unix.EACCES) {
		return "with an eBPF filter", "detach it before, see SO_DETACH_FILTER in socket(7)", nil
	}
	rec.Port = self.Pid
	if rec.Groups, err = netlinkGroups(fd); err != nil {
		return "", "", err
	}
	rec.Options, err = netlinkOptions(fd, rec.Kind, rec.Protocol)
	return "", "", err
}

// netlinkGroups returns the groups that a socket receives from.
func netlinkGroups(fd int) (groups []int, err error) {
	var b [maxNetlinkGroup / 8]byte
	n, err := sys.Getsockopt(fd, unix.SOL_NETLINK, unix.NETLINK_LIST_MEMBERSHIPS, b[:])
	if err != nil {
		return nil, os.NewSyscallError("getsockopt", err)
	}
	for i := 0; i+4 <= min(n, len(b)); i += 4 { // an array of 32-bit numbers
		for v, bit := binary.NativeEndian.Uint32(b[i:]), i*8+1; v != 0; v, bit = v>>1, bit+1 {
			if v&1 != 0 {
				groups = append(groups, bit)
			}
		}
	}
	return groups, nil
}

func netlinkOptions(fd, kind, protocol int) ([]record.LevelOption, error) {
	ours, err := unix.Socket(unix.AF_NETLINK, kind|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer unix.Close(ours)
	fresh, err := readOptions(ours, ofNetlink, nil)
	if err != nil {
		return nil, err
	}
	return readOptions(fd, ofNetlink, fresh)
}

func (r *Restorer) checkNetlink(rec *stream.Record) []error {
	n, err := decode[record.Netlink](rec)
	if err == nil {
		err = judgeNetlink(n)
	}
	if err == nil && !r.Paper && n.Port != 0 {
		err = r.tryNetlink(n)
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

func judgeNetlink(n *record.Netlink) error {
	if n.Kind != unix.SOCK_DGRAM && n.Kind != unix.SOCK_RAW || n.Port != 0 && !slices.Contains(netlinkProtocols, n.Protocol) || n.Protocol < 0 || n.Protocol > maxNetlinkProtocol || len(n.Groups) > maxNetlinkGroup {
		return fmt.Errorf("%w: netlink socket %d of type %d and protocol %d with %d groups", stream.ErrCorrupt, n.Ino, n.Kind, n.Protocol, len(n.Groups))
	}
	for i, g := range n.Groups {
		if g < 1 || g > maxNetlinkGroup || i > 0 && g <= n.Groups[i-1] {
			return fmt.Errorf("%w: netlink socket %d receives from group %d", stream.ErrCorrupt, n.Ino, g)
		}
	}
	return checkOptions(n.Options, ofNetlink)
}

// tryNetlink looks whether a socket can have its port.
func (r *Restorer) tryNetlink(n *record.Netlink) error {
	fd, err := unix.Socket(unix.AF_NETLINK, n.Kind|unix.SOCK_CLOEXEC, n.Protocol)
	if err != nil {
		return netlinkError(n, "make", err)
	}
	defer unix.Close(fd)
	return bindNetlink(fd, n)
}

func bindNetlink(fd int, n *record.Netlink) error {
	err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: n.Port})
	if errors.Is(err, unix.EADDRINUSE) {
		return cli.WithHint(fmt.Errorf("a netlink socket can't have its address again: another program has port %d of protocol %d", n.Port, n.Protocol),
			"end that program first: /proc/net/netlink has the inode number of its socket")
	}
	if err != nil {
		return netlinkError(n, "bind", err)
	}
	return nil
}

func netlinkError(n *record.Netlink, what string, err error) error {
	return fmt.Errorf("%s a netlink socket of protocol %d: %w", what, n.Protocol, err)
}

// netlinkHere: what it takes to set options.
func (r *Restorer) netlinkHere(rec *stream.Record) []error {
	n, err := decode[record.Netlink](rec)
	if err != nil {
		return nil
	}
	return r.optionsHere(fmt.Sprintf("socket:[%d]", n.Ino), n.Options)
}

func (r *Restorer) makeNetlink(rec *stream.Record) (object.Object, error) {
	n, err := decode[record.Netlink](rec)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_NETLINK, n.Kind|unix.SOCK_CLOEXEC, n.Protocol)
	if err != nil {
		return nil, netlinkError(n, "make", err)
	}
	f := os.NewFile(uintptr(fd), "a netlink socket")
	if err := r.furnishNetlink(f, n); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	kept, err := r.Depot.Keep(f)
	return &single{f: kept}, err
}

func (r *Restorer) furnishNetlink(f *os.File, n *record.Netlink) error {
	fd := int(f.Fd())
	if err := r.chown(f, n.UID, n.GID, fmt.Sprintf("socket:[%d]", n.Ino)); err != nil {
		return fmt.Errorf("owner of a netlink socket: %w", err)
	}
	if err := setOptions(fd, n.Options); err != nil {
		return fmt.Errorf("a netlink socket: %w", err)
	}
	if n.Port != 0 {
		if err := bindNetlink(fd, n); err != nil {
			return err
		}
	}
	for _, g := range n.Groups {
		err := unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, g)
		if errors.Is(err, unix.EPERM) {
			return &caps.Missing{Set: caps.Of(unix.CAP_NET_ADMIN), To: fmt.Sprintf("have %%s receive from group %d", g), Who: fmt.Sprintf("socket:[%d]", n.Ino)}
		}
		if err != nil {
			return fmt.Errorf("have a netlink socket of protocol %d receive from group %d: %w", n.Protocol, g, err)
		}
	}
	return nil
}
