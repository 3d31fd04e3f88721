package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

var errMessage = errors.New("nf_tables: a message that is not whole")

// Conn is a socket on which the kernel is told of tables. Those with an owner are the
// socket's: another process that has the same one may change them, too, and they are
// there until all of these have closed it.
type Conn struct {
	f   *os.File
	seq uint32
}

// Dial makes one.
func Dial() (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("nf_tables: %w", os.NewSyscallError("socket", err))
	}
	f := os.NewFile(uintptr(fd), "nf_tables")
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, errors.Join(os.NewSyscallError("bind", err), f.Close())
	}
	return Of(f), nil
}

// Of returns a Conn on such a socket.
func Of(f *os.File) *Conn { return &Conn{f: f, seq: 1} }

// File is its socket.
func (c *Conn) File() *os.File { return c.f }

// Close closes it here.
func (c *Conn) Close() error { return c.f.Close() }

// Own makes a table that is this socket's, which holds these connections.
func (c *Conn) Own(table string, flows []Flow) error {
	t := newBatch(c.seq)
	t.addTable(table, tableOwner, "")
	t.addFlows(table, flows, 0)
	return c.do("hold TCP connections", t)
}

// Exchange makes a lasting table in place of one of this socket's, at one moment. What is
// in it times out.
func (c *Conn) Exchange(own, lasting, comment string, flows []Flow, timeout time.Duration) error {
	t := newBatch(c.seq)
	t.deleteTable(own)
	t.addTable(lasting, 0, comment)
	t.addFlows(lasting, flows, timeout)
	return c.do("go on holding TCP connections", t)
}

// Delete deletes tables, all at one moment.
func (c *Conn) Delete(tables ...string) error {
	t := newBatch(c.seq)
	for _, name := range tables {
		t.deleteTable(name)
	}
	return c.do("let TCP connections go", t)
}

// do has the kernel carry out a batch, which it does before sendto(2) returns.
func (c *Conn) do(what string, t *batch) error {
	b := t.end()
	c.seq++
	if err := c.send(b); err != nil {
		return fmt.Errorf("%s by nf_tables: %w", what, err)
	}
	answered := false
	err := c.receive(unix.MSG_DONTWAIT, t.seq, func(int, []byte) error { answered = true; return nil })
	if err == nil && !answered {
		err = errors.New("the kernel does not answer")
	}
	if err != nil {
		return fmt.Errorf("%s by nf_tables: %w", what, err)
	}
	return nil
}

func (c *Conn) send(b []byte) error {
	fd := int(c.f.Fd())
	if room, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF); err == nil && room < len(b)+1<<12 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, len(b)+1<<12); err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	for {
		err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if err != unix.EINTR {
			return os.NewSyscallError("sendto", err)
		}
	}
}

// receive hands on the messages with a number, as long as there are some, or until the
// last of a list. It returns the first error that the kernel tells.
func (c *Conn) receive(flags int, seq uint32, each func(typ int, b []byte) error) (first error) {
	buf := make([]byte, 1<<16)
	for {
		n, _, err := unix.Recvfrom(int(c.f.Fd()), buf, flags)
		switch err {
		case nil:
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return first
		default:
			return os.NewSyscallError("recvfrom", err)
		}
		done, err := split(buf[:n], seq, each)
		if first == nil {
			first = err
		}
		if done && flags == 0 {
			return first
		}
	}
}

// split takes apart the messages of a datagram. done: the last was among them.
func split(b []byte, seq uint32, each func(typ int, b []byte) error) (done bool, first error) {
	e := binary.NativeEndian
	for len(b) > 0 {
		if len(b) < unix.SizeofNlMsghdr {
			return true, errMessage
		}
		n := int(e.Uint32(b))
		if n < unix.SizeofNlMsghdr || n > len(b) {
			return true, errMessage
		}
		typ, body, err := int(e.Uint16(b[4:])), b[unix.SizeofNlMsghdr:n], error(nil)
		switch ours := e.Uint32(b[8:]) == seq; {
		case !ours: // the answer to a question of somebody who had this socket and died
		case typ == unix.NLMSG_DONE:
			done = true
		case typ == unix.NLMSG_ERROR && len(body) < 4:
			done, err = true, errMessage
		case typ == unix.NLMSG_ERROR && e.Uint32(body) != 0:
			done, err = true, unix.Errno(-int32(e.Uint32(body)))
		default:
			err = each(typ, body)
		}
		if first == nil {
			first = err
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return done, first
}

// Held lists the connections that a table holds. ok is false if there is no such table.
func (c *Conn) Held(table string) (flows []Flow, ok bool, err error) {
	for i := range families {
		f := &families[i]
		t := &batch{seq: c.seq}
		c.seq++
		t.add(unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP, text(text(nil, unix.NFTA_SET_ELEM_LIST_TABLE, table), unix.NFTA_SET_ELEM_LIST_SET, f.set))
		err = c.send(t.b)
		if err == nil {
			err = c.receive(0, t.seq, func(typ int, b []byte) error { return f.elements(b, &flows) })
		}
		if errors.Is(err, unix.ENOENT) {
			return nil, false, nil
		}
		if err != nil {
			return nil, false, fmt.Errorf("look which TCP connections are held by nf_tables: %w", err)
		}
	}
	return flows, true, nil
}

// Tables lists the tables of the family inet without an owner.
func (c *Conn) Tables() (names []string, err error) {
	t := &batch{seq: c.seq}
	c.seq++
	t.add(unix.NFT_MSG_GETTABLE, unix.NLM_F_DUMP, nil)
	if err = c.send(t.b); err == nil {
		err = c.receive(0, t.seq, func(_ int, b []byte) error {
			if len(b) < genmsgBytes {
				return errMessage
			}
			name, owned := "", false
			whole := attrs(b[genmsgBytes:], func(typ int, value []byte) {
				switch typ {
				case unix.NFTA_TABLE_NAME:
					name = strings.TrimRight(string(value), "\x00")
				case tableOwnerID:
					owned = true
				}
			})
			if !whole {
				return errMessage
			}
			if !owned {
				names = append(names, name)
			}
			return nil
		})
	}
	if err != nil {
		return nil, fmt.Errorf("list the tables of nf_tables: %w", err)
	}
	return names, nil
}

// elements parses a message with elements of a set.
func (f *family) elements(b []byte, flows *[]Flow) error {
	if len(b) < genmsgBytes {
		return errMessage
	}
	whole := true
	within := func(b []byte, typ int, each func([]byte)) {
		whole = attrs(b, func(t int, value []byte) {
			if t == typ {
				each(value)
			}
		}) && whole
	}
	within(b[genmsgBytes:], unix.NFTA_SET_ELEM_LIST_ELEMENTS, func(b []byte) {
		within(b, unix.NFTA_LIST_ELEM, func(b []byte) {
			within(b, unix.NFTA_SET_ELEM_KEY, func(b []byte) {
				within(b, unix.NFTA_DATA_VALUE, func(key []byte) {
					if flow, ok := f.flow(key); ok {
						*flows = append(*flows, flow)
					}
				})
			})
		})
	})
	if !whole {
		return errMessage
	}
	return nil
}
