package netns

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/netlink"
	"ckpt/stream/record"
)

const (
	routeFlags = unix.RTNH_F_ONLINK | unix.RTNH_F_PERVASIVE
	hopBytes   = unix.SizeofRtNexthop
	nhID       = 30 // RTA_NH_ID of linux/rtnetlink.h
	ccAlgo     = 16 // RTAX_CC_ALGO
	maxMetric  = 17 // RTAX_MAX
)

// routeAttrs are those that a Route has fields for, and some that tell nothing that would
// last: the interface that packets came by, counters, padding.
var routeAttrs = []int{unix.RTA_DST, unix.RTA_SRC, unix.RTA_OIF, unix.RTA_GATEWAY, unix.RTA_PRIORITY, unix.RTA_PREFSRC, unix.RTA_METRICS, unix.RTA_MULTIPATH,
	unix.RTA_FLOW, unix.RTA_CACHEINFO, unix.RTA_TABLE, unix.RTA_VIA, unix.RTA_PREF, unix.RTA_EXPIRES, unix.RTA_PAD, unix.RTA_IIF}

// hopAttrs are those of a way among several.
var hopAttrs = []int{unix.RTA_GATEWAY, unix.RTA_VIA, unix.RTA_FLOW}

// routes lists the routes, but for those that the kernel makes for each address, in its table
// local. odd are those that can't be made again.
func (c *Conn) routes() (all []record.Route, odd []error, err error) {
	all, err = again(func() (all []record.Route, err error) {
		odd = nil
		for _, family := range families {
			header := make([]byte, unix.SizeofRtMsg)
			header[0] = family
			err := c.dump(unix.RTM_GETROUTE, header, func(header, attrs []byte) error {
				r, why, err := parseRoute(header, attrs)
				switch {
				case why != nil:
					odd = append(odd, why)
				case err == nil && r != nil:
					all = append(all, *r)
				}
				return err
			})
			if err != nil {
				return nil, err
			}
		}
		return all, nil
	})
	return all, odd, err
}

// parseRoute parses struct rtmsg and its attributes. It is nil if the kernel makes it.
func parseRoute(header, attrs []byte) (r *record.Route, odd, err error) {
	e := binary.NativeEndian
	t, err := tableOf(attrs)
	if err != nil {
		return nil, nil, err
	}
	flags := e.Uint32(header[8:])
	r = &record.Route{Family: int(header[0]), DstPrefix: int(header[1]), SrcPrefix: int(header[2]), TOS: int(header[3]), Table: uint32(header[4]),
		Protocol: int(header[5]), Scope: int(header[6]), Type: int(header[7]), Flags: flags & routeFlags,
		Dst: t.ip(unix.RTA_DST), Src: t.ip(unix.RTA_SRC), Prefsrc: t.ip(unix.RTA_PREFSRC), Priority: uint32(t.number(unix.RTA_PRIORITY)), Pref: int(t.number(unix.RTA_PREF))}
	if n, ok := t[unix.RTA_TABLE]; ok {
		r.Table = uint32(number(n))
	}
	switch {
	case flags&unix.RTM_F_CLONED != 0, r.Table == unix.RT_TABLE_LOCAL && r.Protocol == unix.RTPROT_KERNEL && r.Type != unix.RTN_MULTICAST:
		return nil, nil, nil
	case t.unknown(routeAttrs...) != 0:
		return nil, fmt.Errorf("a route %s with the attribute %d of linux/rtnetlink.h", routeName(r), t.unknown(routeAttrs...)), nil
	}
	if info := t[unix.RTA_CACHEINFO]; len(info) >= 12 && r.Family == unix.AF_INET6 { // struct rta_cacheinfo
		if left := int32(e.Uint32(info[8:])); left > 0 {
			r.Expires = uint32(left)/userHZ + 1
		}
	}
	if err := parseMetrics(r, t[unix.RTA_METRICS]); err != nil {
		return nil, nil, err
	}
	hop := record.Hop{Index: int(t.number(unix.RTA_OIF)), Gateway: gateway(t), Realm: uint32(t.number(unix.RTA_FLOW))}
	if hop.Index != 0 || hop.Gateway != "" || hop.Realm != 0 {
		r.Hops = append(r.Hops, hop)
	}
	odd, err = parseHops(r, t[unix.RTA_MULTIPATH])
	return r, odd, err
}

const userHZ = 100 // USER_HZ of the kernel, in which it tells times

// gateway is that of RTA_GATEWAY, or of RTA_VIA, which is of another family than the route.
func gateway(t table) string {
	if via := t[unix.RTA_VIA]; len(via) > 2 {
		return ipText(via[2:])
	}
	return t.ip(unix.RTA_GATEWAY)
}

func parseMetrics(r *record.Route, b []byte) error {
	whole := netlink.Attrs(b, func(typ int, v []byte) {
		switch {
		case typ == ccAlgo:
			r.Congestion = table{0: v}.text(0)
		case len(v) == 4:
			r.Metrics = append(r.Metrics, record.RouteMetric{Number: typ, Value: uint32(number(v))})
		}
	})
	if !whole {
		return netlink.ErrMessage
	}
	return nil
}

// parseHops parses structs rtnexthop.
func parseHops(r *record.Route, b []byte) (odd, err error) {
	e := binary.NativeEndian
	for len(b) > 0 {
		if len(b) < hopBytes || int(e.Uint16(b)) < hopBytes || int(e.Uint16(b)) > len(b) {
			return nil, netlink.ErrMessage
		}
		n := int(e.Uint16(b))
		t, err := tableOf(b[hopBytes:n])
		if err != nil {
			return nil, err
		}
		if typ := t.unknown(hopAttrs...); typ != 0 {
			return fmt.Errorf("a route %s with a way that has the attribute %d of linux/rtnetlink.h", routeName(r), typ), nil
		}
		r.Hops = append(r.Hops, record.Hop{Index: int(e.Uint32(b[4:])), Flags: uint32(b[2]) & routeFlags, Weight: int(b[3]), Gateway: gateway(t), Realm: uint32(t.number(unix.RTA_FLOW))})
		b = b[min((n+3)&^3, len(b)):]
	}
	return nil, nil
}

func routeName(r *record.Route) string {
	if r.DstPrefix == 0 {
		return "to anywhere"
	}
	return fmt.Sprintf("to %s/%d", r.Dst, r.DstPrefix)
}

func routeKey(r *record.Route) string {
	k := *r
	k.Refs, k.Expires = record.PartOf{}, 0
	return fmt.Sprintf("%+v %t", k, r.Expires != 0)
}

// routeGroup is what routes have in common of which the first is taken.
func routeGroup(r *record.Route) string {
	return fmt.Sprint(r.Family, r.Dst, r.DstPrefix, r.TOS, r.Table, r.Priority)
}

func routeMessage(r *record.Route) []byte {
	e := binary.NativeEndian
	b := []byte{byte(r.Family), byte(r.DstPrefix), byte(r.SrcPrefix), byte(r.TOS), byte(min(r.Table, 0xff)), byte(r.Protocol), byte(r.Scope), byte(r.Type)}
	b = u32(e.AppendUint32(b, r.Flags&routeFlags), unix.RTA_TABLE, r.Table)
	b = optionalIP(optionalIP(optionalIP(b, unix.RTA_DST, r.Dst), unix.RTA_SRC, r.Src), unix.RTA_PREFSRC, r.Prefsrc)
	if r.Priority != 0 {
		b = u32(b, unix.RTA_PRIORITY, r.Priority)
	}
	if r.Pref != 0 {
		b = u8(b, unix.RTA_PREF, uint8(r.Pref))
	}
	if r.Expires != 0 {
		b = u32(b, unix.RTA_EXPIRES, r.Expires)
	}
	return appendHops(appendMetrics(b, r), r)
}

func optional(b []byte, typ int, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	return netlink.Attr(b, typ, v)
}

func optionalIP(b []byte, typ int, ip string) []byte { return optional(b, typ, ipBytes(ip)) }

func appendMetrics(b []byte, r *record.Route) []byte {
	var metrics []byte
	for _, m := range r.Metrics {
		metrics = u32(metrics, m.Number, m.Value)
	}
	if r.Congestion != "" {
		metrics = netlink.Text(metrics, ccAlgo, r.Congestion)
	}
	if metrics == nil {
		return b
	}
	return netlink.Inside(b, unix.RTA_METRICS, metrics)
}

func appendHops(b []byte, r *record.Route) []byte {
	e := binary.NativeEndian
	if len(r.Hops) == 1 && r.Hops[0].Weight == 0 {
		if r.Hops[0].Index != 0 {
			b = u32(b, unix.RTA_OIF, uint32(r.Hops[0].Index))
		}
		return appendHop(b, r, &r.Hops[0])
	}
	var all []byte
	for i := range r.Hops {
		h := &r.Hops[i]
		attrs := appendHop(nil, r, h)
		all = e.AppendUint16(all, uint16(hopBytes+len(attrs)))
		all = append(all, byte(h.Flags&routeFlags), byte(h.Weight))
		all = append(e.AppendUint32(all, uint32(h.Index)), attrs...)
	}
	return optional(b, unix.RTA_MULTIPATH, all)
}

func appendHop(b []byte, r *record.Route, h *record.Hop) []byte {
	switch {
	case h.Gateway == "":
	case int(familyOf(h.Gateway)) == r.Family:
		b = optionalIP(b, unix.RTA_GATEWAY, h.Gateway)
	default: // struct rtvia
		b = netlink.Attr(b, unix.RTA_VIA, append(binary.NativeEndian.AppendUint16(nil, uint16(familyOf(h.Gateway))), ipBytes(h.Gateway)...))
	}
	if h.Realm != 0 {
		b = u32(b, unix.RTA_FLOW, h.Realm)
	}
	return b
}

// addRoute makes a route: behind those that go before it.
func (c *Conn) addRoute(r *record.Route) error {
	flags := unix.NLM_F_CREATE
	if r.Family == unix.AF_INET {
		flags |= unix.NLM_F_APPEND
	}
	return c.do(unix.RTM_NEWROUTE, flags, routeMessage(r))
}

func (c *Conn) deleteRoute(r *record.Route) error {
	return c.do(unix.RTM_DELROUTE, 0, routeMessage(r))
}
