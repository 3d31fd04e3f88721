package netns

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/netlink"
	"ckpt/stream/record"
)

// ruleNumbers are the attributes of a rule that are numbers, and of how many bytes.
// Those of a range are two.
var ruleNumbers = map[int]int{unix.FRA_GOTO: 4, unix.FRA_FWMARK: 4, unix.FRA_FWMASK: 4, unix.FRA_FLOW: 4, unix.FRA_SUPPRESS_IFGROUP: 4, unix.FRA_SUPPRESS_PREFIXLEN: 4,
	unix.FRA_L3MDEV: 1, unix.FRA_IP_PROTO: 1, unix.FRA_UID_RANGE: 8, unix.FRA_SPORT_RANGE: 4, unix.FRA_DPORT_RANGE: 4,
	25: 1, 26: 4, 27: 4, 28: 2, 29: 2, fraDSCPMask: 1} // FRA_DSCP and on: of newer kernels

var ruleAttrs = []int{unix.FRA_DST, unix.FRA_SRC, unix.FRA_IIFNAME, unix.FRA_OIFNAME, unix.FRA_PRIORITY, unix.FRA_TABLE, unix.FRA_PROTOCOL, unix.FRA_PAD}

const fraDSCPMask = 30

const ruleBytes = unix.SizeofRtMsg // struct fib_rule_hdr

func (c *Conn) rules() (all []record.NetRule, odd []error, err error) {
	all, err = again(func() (all []record.NetRule, err error) {
		odd = nil
		for _, family := range families {
			header := make([]byte, ruleBytes)
			header[0] = family
			err := c.dump(unix.RTM_GETRULE, header, func(header, attrs []byte) error {
				r, why, err := parseRule(header, attrs)
				switch {
				case why != nil:
					odd = append(odd, why)
				case err == nil:
					all = append(all, *r)
				}
				return err
			})
			if err != nil && err != unix.EOPNOTSUPP {
				return nil, err
			}
		}
		return all, nil
	})
	return all, odd, err
}

// parseRule parses struct fib_rule_hdr and its attributes.
func parseRule(header, attrs []byte) (r *record.NetRule, odd, err error) {
	t, err := tableOf(attrs)
	if err != nil {
		return nil, nil, err
	}
	r = &record.NetRule{Family: int(header[0]), DstPrefix: int(header[1]), SrcPrefix: int(header[2]), TOS: int(header[3]), Table: uint32(header[4]),
		Action: int(header[7]), Invert: binary.NativeEndian.Uint32(header[8:])&unix.FIB_RULE_INVERT != 0, Priority: uint32(t.number(unix.FRA_PRIORITY)),
		Protocol: int(t.number(unix.FRA_PROTOCOL)), Dst: t.ip(unix.FRA_DST), Src: t.ip(unix.FRA_SRC), In: t.text(unix.FRA_IIFNAME), Out: t.text(unix.FRA_OIFNAME)}
	if n, ok := t[unix.FRA_TABLE]; ok {
		r.Table = uint32(number(n))
	}
	for typ := range fraDSCPMask + 1 {
		v, ok := t[typ]
		switch {
		case !ok || ruleNumbers[typ] == 0:
		case len(v) != ruleNumbers[typ]:
			return nil, nil, netlink.ErrMessage
		case isNothing(typ, number(v)):
		default:
			r.Numbers = append(r.Numbers, record.NetNumber{Number: typ, Value: number(v)})
		}
	}
	known := ruleAttrs
	for typ := range ruleNumbers {
		known = append(known, typ)
	}
	if typ := t.unknown(known...); typ != 0 {
		odd = fmt.Errorf("a rule with priority %d and the attribute %d of linux/fib_rules.h", r.Priority, typ)
	}
	return r, odd, nil
}

// isNothing reports whether a number is what a rule has that was made without it.
func isNothing(typ int, n uint64) bool {
	return (typ == unix.FRA_SUPPRESS_PREFIXLEN || typ == unix.FRA_SUPPRESS_IFGROUP) && n == 1<<32-1 || typ == unix.FRA_L3MDEV && n == 0
}

func ruleKey(r *record.NetRule) string {
	k := *r
	k.Refs = record.PartOf{}
	return fmt.Sprintf("%+v", k)
}

func ruleMessage(r *record.NetRule) []byte {
	b := []byte{byte(r.Family), byte(r.DstPrefix), byte(r.SrcPrefix), byte(r.TOS), byte(min(r.Table, 0xff)), 0, 0, byte(r.Action)}
	flags := uint32(0)
	if r.Invert {
		flags = unix.FIB_RULE_INVERT
	}
	b = u32(binary.NativeEndian.AppendUint32(b, flags), unix.FRA_PRIORITY, r.Priority)
	if r.Table != 0 {
		b = u32(b, unix.FRA_TABLE, r.Table)
	}
	b = u8(b, unix.FRA_PROTOCOL, uint8(r.Protocol))
	b = optionalIP(optionalIP(b, unix.FRA_DST, r.Dst), unix.FRA_SRC, r.Src)
	if r.In != "" {
		b = netlink.Text(b, unix.FRA_IIFNAME, r.In)
	}
	if r.Out != "" {
		b = netlink.Text(b, unix.FRA_OIFNAME, r.Out)
	}
	for _, n := range r.Numbers {
		b = (&setting{typ: n.Number, bytes: ruleNumbers[n.Number]}).append(b, n.Value)
	}
	return b
}

func (c *Conn) addRule(r *record.NetRule) error {
	return c.do(unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, ruleMessage(r))
}

func (c *Conn) deleteRule(r *record.NetRule) error { return c.do(unix.RTM_DELRULE, 0, ruleMessage(r)) }
