package nft

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/netlink"
)

// Conn is a socket on which the kernel is told of tables. Those with an owner are the
// socket's: another process that has the same one may change them, too, and they are
// there until all of these have closed it.
type Conn struct {
	*netlink.Socket
	seq uint32
}

// Dial makes one.
func Dial() (*Conn, error) {
	s, err := netlink.Dial(unix.NETLINK_NETFILTER, "nf_tables")
	if err != nil {
		return nil, err
	}
	return &Conn{s, 1}, nil
}

// Of returns a Conn on such a socket.
func Of(f *os.File) *Conn { return &Conn{netlink.Of(f), 1} }

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
	if err := c.Send(b); err != nil {
		return fmt.Errorf("%s by nf_tables: %w", what, err)
	}
	answered := false
	err := c.Receive(unix.MSG_DONTWAIT, t.seq, func(int, []byte) error { answered = true; return nil })
	if err == nil && !answered {
		err = errors.New("the kernel does not answer")
	}
	if err != nil {
		return fmt.Errorf("%s by nf_tables: %w", what, err)
	}
	return nil
}

// Held lists the connections that a table holds. ok is false if there is no such table.
func (c *Conn) Held(table string) (flows []Flow, ok bool, err error) {
	for i := range families {
		f := &families[i]
		t := &batch{seq: c.seq}
		c.seq++
		t.add(unix.NFT_MSG_GETSETELEM, unix.NLM_F_DUMP, netlink.Text(netlink.Text(nil, unix.NFTA_SET_ELEM_LIST_TABLE, table), unix.NFTA_SET_ELEM_LIST_SET, f.set))
		err = c.Send(t.b)
		if err == nil {
			err = c.Receive(0, t.seq, func(typ int, b []byte) error { return f.elements(b, &flows) })
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
	if err = c.Send(t.b); err == nil {
		err = c.Receive(0, t.seq, func(_ int, b []byte) error {
			if len(b) < genmsgBytes {
				return netlink.ErrMessage
			}
			name, owned := "", false
			whole := netlink.Attrs(b[genmsgBytes:], func(typ int, value []byte) {
				switch typ {
				case unix.NFTA_TABLE_NAME:
					name = strings.TrimRight(string(value), "\x00")
				case tableOwnerID:
					owned = true
				}
			})
			if !whole {
				return netlink.ErrMessage
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
		return netlink.ErrMessage
	}
	whole := true
	within := func(b []byte, typ int, each func([]byte)) {
		whole = netlink.Attrs(b, func(t int, value []byte) {
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
		return netlink.ErrMessage
	}
	return nil
}
