package netns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/internal/netlink"
)

// Conn is a socket on which the kernel is asked, and told, of one network namespace: that of
// the thread that made it.
type Conn struct {
	*netlink.Socket
	seq uint32
}

// Dial makes one.
func Dial() (*Conn, error) {
	s, err := netlink.Dial(unix.NETLINK_ROUTE, "rtnetlink")
	if err != nil {
		return nil, err
	}
	return &Conn{Socket: s, seq: 1}, nil
}

// Here returns the inode number of the calling thread's network namespace.
func Here() (uint64, error) {
	c, err := Dial()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return Of(int(c.File().Fd()))
}

// DialNew is Dial for a namespace that is to be filled. It must not be the one with the inode
// number host, and have nothing in it but what the kernel makes.
func DialNew(host uint64) (*Conn, error) {
	c, err := DialOther(host)
	if err != nil {
		return nil, err
	}
	if err := c.isEmpty(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// DialOther is Dial for a namespace that must not be the one with the inode number host.
func DialOther(host uint64) (*Conn, error) {
	c, err := Dial()
	if err != nil {
		return nil, err
	}
	own, err := Of(int(c.File().Fd()))
	if err == nil && (host == 0 || own == host) {
		err = fmt.Errorf("the network namespace %d is that of this host, and would be changed", own)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Conn) isEmpty() error {
	links, err := c.links()
	if err != nil {
		return err
	}
	for i := range links {
		if l := &links[i]; !l.given() || l.Flags&unix.IFF_UP != 0 {
			return fmt.Errorf("the network namespace is not a new one: %s is in it", l.name())
		}
	}
	return nil
}

// Of returns the inode number of the network namespace of a socket.
func Of(socket int) (uint64, error) {
	fd, err := unix.IoctlRetInt(socket, unix.SIOCGSKNS)
	if err != nil {
		return 0, os.NewSyscallError("ioctl", err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, os.NewSyscallError("fstat", err)
	}
	return st.Ino, nil
}

// do has the kernel carry out a request.
func (c *Conn) do(typ, flags int, body []byte) error {
	seq := c.seq
	c.seq++
	if err := c.Send(message(typ, flags|unix.NLM_F_ACK, seq, body)); err != nil {
		return err
	}
	answered := false
	err := c.Receive(unix.MSG_DONTWAIT, seq, func(typ int, _ []byte) error {
		answered = answered || typ == unix.NLMSG_ERROR
		return nil
	})
	if err == nil && !answered {
		err = errors.New("the kernel does not answer")
	}
	return err
}

// maxTries is how often a list is read that changes meanwhile.
const maxTries = 10

// dump hands on the messages of a list: their body behind a header of size bytes.
func (c *Conn) dump(typ int, header []byte, each func(header, attrs []byte) error) error {
	return dump(c.Socket, &c.seq, typ, header, each)
}

func dump(s *netlink.Socket, count *uint32, typ int, header []byte, each func(header, attrs []byte) error) error {
	seq := *count
	*count++
	if err := s.Send(message(typ, unix.NLM_F_DUMP, seq, header)); err != nil {
		return err
	}
	n := 0
	return s.Receive(0, seq, func(_ int, b []byte) error {
		if n++; n > maxObjects {
			return errTooMany
		}
		if len(b) < len(header) {
			return netlink.ErrMessage
		}
		return each(b[:len(header)], b[len(header):])
	})
}

// again lists something anew if it has changed meanwhile.
func again[T any](list func() ([]T, error)) (all []T, err error) {
	for range maxTries {
		if all, err = list(); !errors.Is(err, netlink.ErrChanged) {
			return all, err
		}
	}
	return nil, err
}

// message is nlmsghdr and its body.
func message(typ, flags int, seq uint32, body []byte) []byte {
	e := binary.NativeEndian
	b := e.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
	b = e.AppendUint16(b, uint16(typ))
	b = e.AppendUint16(b, uint16(flags)|unix.NLM_F_REQUEST)
	b = e.AppendUint32(b, seq)
	return append(append(b, 0, 0, 0, 0), body...) // the port is the kernel's to fill in
}

// Limits on what a namespace may have, which a target could fill.
const maxObjects = 1 << 17

var errTooMany = fmt.Errorf("there are more than %d of them, too many to save", maxObjects)

// Numbers in attributes.
func u8(b []byte, typ int, n uint8) []byte { return netlink.Attr(b, typ, []byte{n}) }

func u16(b []byte, typ int, n uint16) []byte {
	return netlink.Attr(b, typ, binary.NativeEndian.AppendUint16(nil, n))
}

func u32(b []byte, typ int, n uint32) []byte {
	return netlink.Attr(b, typ, binary.NativeEndian.AppendUint32(nil, n))
}

func u64(b []byte, typ int, n uint64) []byte {
	return netlink.Attr(b, typ, binary.NativeEndian.AppendUint64(nil, n))
}

// number is the value of an attribute of 1, 2, 4 or 8 bytes.
func number(v []byte) uint64 {
	e := binary.NativeEndian
	switch len(v) {
	case 1:
		return uint64(v[0])
	case 2:
		return uint64(e.Uint16(v))
	case 4:
		return uint64(e.Uint32(v))
	case 8:
		return e.Uint64(v)
	}
	return 0
}

// table is attributes by their type.
type table map[int][]byte

// tableOf returns them. What it is given stays with it.
func tableOf(b []byte) (table, error) {
	t := table{}
	if !netlink.Attrs(b, func(typ int, v []byte) { t[typ] = v }) {
		return nil, netlink.ErrMessage
	}
	return t, nil
}

func (t table) number(typ int) uint64 { return number(t[typ]) }

func (t table) text(typ int) string {
	v := t[typ]
	for len(v) > 0 && v[len(v)-1] == 0 {
		v = v[:len(v)-1]
	}
	return string(v)
}

// unknown returns an attribute that is not among those known, 0 if there is none.
func (t table) unknown(known ...int) int {
	for typ := range t {
		found := typ == 0
		for _, k := range known {
			found = found || k == typ
		}
		if !found {
			return typ
		}
	}
	return 0
}
