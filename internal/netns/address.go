package netns

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/netlink"
	"ckpt/stream/record"
)

const (
	forever      = math.MaxUint32 // INFINITY_LIFE_TIME of the kernel
	ifaProto     = 11             // IFA_PROTO of linux/if_addr.h
	addressFlags = unix.IFA_F_NODAD | unix.IFA_F_HOMEADDRESS | unix.IFA_F_MANAGETEMPADDR | unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_MCAUTOJOIN
)

func (c *Conn) addresses() ([]record.NetAddress, error) {
	return again(func() (all []record.NetAddress, err error) {
		for _, family := range families {
			header := make([]byte, unix.SizeofIfAddrmsg)
			header[0] = family
			err := c.dump(unix.RTM_GETADDR, header, func(header, attrs []byte) error {
				a, err := parseAddress(header, attrs)
				if err == nil {
					all = append(all, *a)
				}
				return err
			})
			if err != nil {
				return nil, err
			}
		}
		return all, nil
	})
}

var families = []byte{unix.AF_INET, unix.AF_INET6}

// parseAddress parses struct ifaddrmsg and its attributes.
func parseAddress(header, attrs []byte) (*record.NetAddress, error) {
	t, err := tableOf(attrs)
	if err != nil {
		return nil, err
	}
	flags := uint32(header[2])
	if _, ok := t[unix.IFA_FLAGS]; ok {
		flags = uint32(t.number(unix.IFA_FLAGS))
	}
	a := &record.NetAddress{Index: int(binary.NativeEndian.Uint32(header[4:])), Prefix: int(header[1]), Scope: int(header[3]),
		IP: t.ip(unix.IFA_ADDRESS), Broadcast: t.ip(unix.IFA_BROADCAST), Label: t.text(unix.IFA_LABEL), Metric: uint32(t.number(unix.IFA_RT_PRIORITY)),
		Protocol: int(t.number(ifaProto)), Flags: flags & (addressFlags | unix.IFA_F_TENTATIVE)}
	if local := t.ip(unix.IFA_LOCAL); local != "" {
		if local != a.IP {
			a.Peer = a.IP
		}
		a.IP = local
	}
	if a.IP == "" {
		return nil, netlink.ErrMessage
	}
	if info := t[unix.IFA_CACHEINFO]; len(info) >= 8 { // struct ifa_cacheinfo
		if n := binary.NativeEndian.Uint32(info[4:]); n != forever {
			a.Valid = max(n, 1)
		}
		switch n := binary.NativeEndian.Uint32(info); {
		case n == 0:
			a.Deprecated = true
		case n != forever:
			a.Preferred = n
		}
	}
	return a, nil
}

// addressKey is what tells an address from others, and what of it does not change by itself.
func addressKey(a *record.NetAddress) string {
	return fmt.Sprint(a.Index, a.IP, a.Prefix, a.Peer, a.Broadcast, a.Label, a.Scope, a.Metric, a.Flags&addressFlags, a.Valid != 0, a.Deprecated)
}

func familyOf(ip string) byte {
	if len(ipBytes(ip)) == 4 {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// ipBytes is an address as the kernel has it, nil for none.
func ipBytes(ip string) []byte {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return nil
	}
	return a.AsSlice()
}

// ip is an attribute that is an address, "" for none.
func (t table) ip(typ int) string { return ipText(t[typ]) }

func ipText(b []byte) string {
	a, ok := netip.AddrFromSlice(b)
	if !ok {
		return ""
	}
	return a.String()
}

// mac is an attribute that is the address of an interface.
func (t table) mac(typ int) string { return net.HardwareAddr(t[typ]).String() }

// macBytes is the inverse of mac.
func macBytes(mac string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(mac, ":", ""))
	if err != nil {
		return nil
	}
	return b
}

func addressMessage(a *record.NetAddress) []byte {
	b := make([]byte, 0, 128)
	b = append(b, familyOf(a.IP), byte(a.Prefix), byte(a.Flags&addressFlags), byte(a.Scope))
	b = binary.NativeEndian.AppendUint32(b, uint32(a.Index))
	b = optionalIP(b, unix.IFA_LOCAL, a.IP)
	return optionalIP(b, unix.IFA_ADDRESS, cmp.Or(a.Peer, a.IP))
}

func (c *Conn) addAddress(a *record.NetAddress) error {
	e := binary.NativeEndian
	b := u32(addressMessage(a), unix.IFA_FLAGS, a.Flags&addressFlags)
	b = optionalIP(b, unix.IFA_BROADCAST, a.Broadcast)
	if a.Label != "" {
		b = netlink.Text(b, unix.IFA_LABEL, a.Label)
	}
	if a.Metric != 0 {
		b = u32(b, unix.IFA_RT_PRIORITY, a.Metric)
	}
	if a.Protocol != 0 {
		b = u8(b, ifaProto, uint8(a.Protocol))
	}
	if a.Valid != 0 || a.Preferred != 0 || a.Deprecated {
		valid, preferred := uint32(forever), uint32(forever)
		if a.Valid != 0 {
			valid, preferred = a.Valid, a.Valid
		}
		if a.Preferred != 0 {
			preferred = a.Preferred
		}
		if a.Deprecated {
			preferred = 0
		}
		info := e.AppendUint32(e.AppendUint32(nil, preferred), valid)
		b = netlink.Attr(b, unix.IFA_CACHEINFO, append(info, make([]byte, 8)...))
	}
	return c.do(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, b)
}

func (c *Conn) deleteAddress(a *record.NetAddress) error {
	b := addressMessage(a)
	if a.Label != "" {
		b = netlink.Text(b, unix.IFA_LABEL, a.Label)
	}
	return c.do(unix.RTM_DELADDR, 0, b)
}
