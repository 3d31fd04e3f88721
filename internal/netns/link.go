package netns

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/netlink"
	"ckpt/stream/record"
)

// Kinds of interfaces that can be made again.
const (
	kindLoopback = "loopback"
	kindBridge   = "bridge"
	kindVeth     = "veth"
	kindTun      = "tun"
)

// plainKinds are made by their name alone.
var plainKinds = []string{"dummy", "ifb"}

// userFlags are the flags of an interface that a user sets: dev_change_flags of the kernel.
const userFlags = unix.IFF_UP | unix.IFF_DEBUG | unix.IFF_NOTRAILERS | unix.IFF_NOARP | unix.IFF_DYNAMIC | unix.IFF_MULTICAST |
	unix.IFF_PORTSEL | unix.IFF_AUTOMEDIA | unix.IFF_PROMISC | unix.IFF_ALLMULTI

// link is what the kernel tells of an interface.
type link struct {
	record.Link
	lower  int  // IFLA_LINK
	away   bool // that is in another namespace
	port   table
	xdp    bool
	filter bool // a bridge that knows VLANs
	state  int  // IFLA_OPERSTATE
}

func (l *link) name() string { return Named(&l.Link) }

// Named names an interface for messages.
func Named(l *record.Link) string { return fmt.Sprintf("interface %s", l.Name) }

// fallbacks are interfaces that some kernels make in each namespace, and their kinds.
var fallbacks = map[string]string{"tunl0": "ipip", "gre0": "gre", "gretap0": "gretap", "erspan0": "erspan", "sit0": "sit", "ip_vti0": "vti",
	"ip6tnl0": "ip6tnl", "ip6_vti0": "vti6", "ip6gre0": "ip6gre"}

// given reports whether the kernel makes an interface with the namespace.
func (l *link) given() bool {
	return l.Kind == kindLoopback || l.Kind != "" && fallbacks[l.Name] == l.Kind
}

const linkBytes = unix.SizeofIfInfomsg

// links lists the interfaces.
func (c *Conn) links() (all []link, err error) {
	return again(func() (all []link, err error) {
		err = c.dump(unix.RTM_GETLINK, make([]byte, linkBytes), func(header, attrs []byte) error {
			l, err := parseLink(header, attrs)
			if err == nil {
				all = append(all, *l)
			}
			return err
		})
		return all, err
	})
}

// parseLink parses struct ifinfomsg and its attributes.
func parseLink(header, attrs []byte) (*link, error) {
	e := binary.NativeEndian
	t, err := tableOf(attrs)
	if err != nil {
		return nil, err
	}
	flags := e.Uint32(header[8:])
	l := &link{Link: record.Link{Index: int(int32(e.Uint32(header[4:]))), Name: t.text(unix.IFLA_IFNAME), Flags: flags & userFlags,
		MAC: t.mac(unix.IFLA_ADDRESS), Alias: t.text(unix.IFLA_IFALIAS), Master: int(t.number(unix.IFLA_MASTER))}}
	l.lower, l.state = int(t.number(unix.IFLA_LINK)), int(t.number(unix.IFLA_OPERSTATE))
	_, l.away = t[unix.IFLA_LINK_NETNSID]
	if e.Uint16(header[2:]) == unix.ARPHRD_LOOPBACK {
		l.Kind = kindLoopback
	}
	readSettings(&l.Link, linkSettings, t)
	if err := l.parseInfo(t[unix.IFLA_LINKINFO]); err != nil {
		return nil, err
	}
	return l, l.parseMore(t)
}

// parseInfo parses IFLA_LINKINFO.
func (l *link) parseInfo(b []byte) error {
	t, err := tableOf(b)
	if err != nil {
		return err
	}
	if kind := t.text(unix.IFLA_INFO_KIND); kind != "" {
		l.Kind = kind
	}
	data, err := tableOf(t[unix.IFLA_INFO_DATA])
	if err != nil {
		return err
	}
	switch l.Kind {
	case kindBridge:
		readSettings(&l.Link, bridgeSettings, data)
		l.filter = data.number(unix.IFLA_BR_VLAN_FILTERING) != 0
	case kindTun:
		readSettings(&l.Link, tunSettings, data)
	}
	if l.Master == 0 {
		return nil
	}
	if l.port, err = tableOf(t[unix.IFLA_INFO_SLAVE_DATA]); err == nil {
		readSettings(&l.Link, portSettings, l.port)
	}
	return err
}

func (l *link) parseMore(t table) error {
	whole := netlink.Attrs(t[unix.IFLA_PROP_LIST], func(typ int, v []byte) {
		if typ == unix.IFLA_ALT_IFNAME {
			l.AltNames = append(l.AltNames, table{0: v}.text(0))
		}
	})
	whole = netlink.Attrs(t[unix.IFLA_XDP], func(typ int, v []byte) { l.xdp = l.xdp || typ == unix.IFLA_XDP_ATTACHED && number(v) != 0 }) && whole
	whole = netlink.Attrs(t[unix.IFLA_AF_SPEC], func(family int, v []byte) {
		if family != unix.AF_INET6 {
			return
		}
		whole = netlink.Attrs(v, func(typ int, v []byte) {
			if typ == unix.IFLA_INET6_ADDR_GEN_MODE && len(v) == 1 {
				l.Settings = append(l.Settings, record.LinkSetting{Name: genMode, Value: uint64(v[0])})
			}
		}) && whole
	}) && whole
	if !whole {
		return netlink.ErrMessage
	}
	return nil
}

// again reports whether an interface can be made again, of which the other end, if it has
// one, is in the namespace, too.
func (l *link) canBeMade(all map[int]*link) bool {
	switch l.Kind {
	case kindLoopback:
		return l.Index == 1
	case kindVeth:
		peer := all[l.lower]
		return !l.away && peer != nil && peer.Kind == kindVeth && peer.lower == l.Index
	case kindBridge:
		return true
	case kindTun:
		persist, _ := value(&l.Link, "tun.persist")
		return persist != 0
	}
	for _, kind := range plainKinds {
		if kind == l.Kind {
			return true
		}
	}
	return false
}

// newLink is struct ifinfomsg.
func newLink(index int, flags, change uint32) []byte {
	e := binary.NativeEndian
	b := make([]byte, 4, 256) // family, type
	b = e.AppendUint32(b, uint32(index))
	b = e.AppendUint32(b, flags)
	return e.AppendUint32(b, change)
}

// makeLink makes an interface, which is down. peer is what a veth gets as its other end.
func (c *Conn) makeLink(l, peer *record.Link) error {
	if l.Kind == kindTun {
		return makeTun(l)
	}
	b := linkIdentity(newLink(l.Index, 0, 0), l)
	info := netlink.Text(nil, unix.IFLA_INFO_KIND, l.Kind)
	if peer != nil {
		info = netlink.Inside(info, unix.IFLA_INFO_DATA, netlink.Attr(nil, vethInfoPeer, linkIdentity(newLink(peer.Index, 0, 0), peer)))
	}
	return c.do(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, netlink.Inside(b, unix.IFLA_LINKINFO, info))
}

const vethInfoPeer = 1 // VETH_INFO_PEER of linux/veth.h

// linkIdentity appends what an interface is made with.
func linkIdentity(b []byte, l *record.Link) []byte {
	b = netlink.Text(b, unix.IFLA_IFNAME, l.Name)
	b = optional(b, unix.IFLA_ADDRESS, macBytes(l.MAC))
	if mtu, ok := value(l, "mtu"); ok {
		b = u32(b, unix.IFLA_MTU, uint32(mtu))
	}
	return b
}

// set changes what an interface has to what it is to have, but for whether it is up.
func (c *Conn) set(want *record.Link, have *link) error {
	if err := c.setAll(want, have); err != nil {
		return err
	}
	if want.Kind == kindBridge {
		if data := differing(bridgeSettings, want, &have.Link); len(data) > 0 {
			info := netlink.Inside(netlink.Text(nil, unix.IFLA_INFO_KIND, kindBridge), unix.IFLA_INFO_DATA, data)
			if err := c.do(unix.RTM_NEWLINK, 0, netlink.Inside(newLink(want.Index, 0, 0), unix.IFLA_LINKINFO, info)); err != nil {
				return err
			}
		}
	}
	for _, name := range want.AltNames {
		b := netlink.Inside(newLink(want.Index, 0, 0), unix.IFLA_PROP_LIST, netlink.Text(nil, unix.IFLA_ALT_IFNAME, name))
		if err := c.do(unix.RTM_NEWLINKPROP, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_APPEND, b); err != nil {
			return err
		}
	}
	return nil
}

func (c *Conn) setAll(want *record.Link, have *link) error {
	b := newLink(want.Index, want.Flags&^unix.IFF_UP, userFlags&^unix.IFF_UP)
	b = append(b, differing(linkSettings, want, &have.Link)...)
	if want.Kind != kindLoopback && want.MAC != have.MAC {
		b = optional(b, unix.IFLA_ADDRESS, macBytes(want.MAC))
	}
	if want.Alias != "" {
		b = netlink.Attr(b, unix.IFLA_IFALIAS, []byte(want.Alias))
	}
	if _, ok := value(&have.Link, genMode); ok { // until all addresses are there
		b = afSpec(b, genNone)
	}
	return c.do(unix.RTM_NEWLINK, 0, b)
}

// enslave makes an interface a port of its bridge.
func (c *Conn) enslave(want *record.Link) error {
	return c.do(unix.RTM_NEWLINK, 0, u32(newLink(want.Index, 0, 0), unix.IFLA_MASTER, uint32(want.Master)))
}

// setPort changes what an interface has as a port of a bridge.
func (c *Conn) setPort(want *record.Link, have *link) error {
	data := differing(portSettings, want, &have.Link)
	if len(data) == 0 {
		return nil
	}
	info := netlink.Inside(netlink.Text(nil, unix.IFLA_INFO_SLAVE_KIND, kindBridge), unix.IFLA_INFO_SLAVE_DATA, data)
	return c.do(unix.RTM_NEWLINK, 0, netlink.Inside(newLink(want.Index, 0, 0), unix.IFLA_LINKINFO, info))
}

// up turns an interface on, by IFF_UP, or off.
func (c *Conn) up(index int, flags uint32) error {
	return c.do(unix.RTM_NEWLINK, 0, newLink(index, flags, unix.IFF_UP))
}

// ownAddress has an interface get its own address as it is to.
func (c *Conn) ownAddress(want *record.Link) error {
	mode, ok := value(want, genMode)
	if !ok {
		return nil
	}
	return c.do(unix.RTM_NEWLINK, 0, afSpec(newLink(want.Index, 0, 0), mode))
}
