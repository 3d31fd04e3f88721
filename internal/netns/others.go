package netns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/netlink"
)

// From uapi linux/rtnetlink.h and xfrm.h.
const (
	getNexthop  = 106 // RTM_GETNEXTHOP
	nhmsgBytes  = 8   // struct nhmsg
	getSA       = 18  // XFRM_MSG_GETSA
	getPolicy   = 21  // XFRM_MSG_GETPOLICY
	genmsgBytes = 4   // struct nfgenmsg
)

// others says what is in a namespace that is not described.
func (c *Conn) others() (blockers []error, err error) {
	qdiscs, err := c.qdiscs()
	if err != nil {
		return nil, fmt.Errorf("list queueing disciplines: %w", err)
	}
	nexthops := 0
	err = c.dump(getNexthop, make([]byte, nhmsgBytes), func(_, _ []byte) error { nexthops++; return nil })
	if err != nil && err != unix.EOPNOTSUPP {
		return nil, fmt.Errorf("list nexthops: %w", err)
	}
	if nexthops > 0 {
		qdiscs = append(qdiscs, fmt.Errorf("%d nexthops of their own, see ip-nexthop(8)", nexthops))
	}
	tables, err := filterTables()
	if err != nil {
		return nil, err
	}
	xfrm, err := transforms()
	return append(append(qdiscs, tables...), xfrm...), err
}

// qdiscs names the queueing disciplines that somebody has set: those that the kernel makes
// have no handle.
func (c *Conn) qdiscs() (blockers []error, err error) {
	e := binary.NativeEndian
	links, err := c.links()
	if err != nil {
		return nil, err
	}
	names := map[int]string{}
	for i := range links {
		names[links[i].Index] = links[i].Name
	}
	const tcmsgBytes = 20 // struct tcmsg
	err = c.dump(unix.RTM_GETQDISC, make([]byte, tcmsgBytes), func(header, attrs []byte) error {
		t, err := tableOf(attrs)
		if err != nil {
			return err
		}
		if e.Uint32(header[8:]) != 0 {
			const kind = 1 // TCA_KIND
			blockers = append(blockers, fmt.Errorf("interface %s with the queueing discipline %s", names[int(e.Uint32(header[4:]))], t.text(kind)))
		}
		return nil
	})
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = nil
	}
	return blockers, err
}

// filterTables names the tables of packet filters.
func filterTables() (blockers []error, err error) {
	names, err := nftables()
	if err != nil {
		return nil, err
	}
	if len(names) > 0 {
		blockers = append(blockers, fmt.Errorf("a ruleset of nf_tables (tables %s), see nft(8)", strings.Join(names, ", ")))
	}
	for _, family := range []string{"ip", "ip6", "arp"} {
		b, err := os.ReadFile("/proc/thread-self/net/" + family + "_tables_names")
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		if names := strings.Fields(string(b)); len(names) > 0 {
			blockers = append(blockers, fmt.Errorf("a ruleset of %s_tables (tables %s), see iptables-legacy(8)", family, strings.Join(names, ", ")))
		}
	}
	return blockers, nil
}

const maxNames = 5

func nftables() (names []string, err error) {
	s, err := netlink.Dial(unix.NETLINK_NETFILTER, "nf_tables")
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer s.Close()
	seq := uint32(1)
	err = dump(s, &seq, unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETTABLE, make([]byte, genmsgBytes), func(_, attrs []byte) error {
		t, err := tableOf(attrs)
		if err == nil && len(names) < maxNames {
			names = append(names, t.text(unix.NFTA_TABLE_NAME))
		}
		return err
	})
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) { // a kernel without nf_tables
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the tables of nf_tables: %w", err)
	}
	return names, nil
}

// transforms names the states and policies of IPsec.
func transforms() (blockers []error, err error) {
	s, err := netlink.Dial(unix.NETLINK_XFRM, "xfrm")
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer s.Close()
	seq := uint32(1)
	for what, typ := range map[string]int{"states": getSA, "policies": getPolicy} {
		n := 0
		err := dump(s, &seq, typ, nil, func(_, _ []byte) error { n++; return nil })
		if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			return nil, fmt.Errorf("list the %s of IPsec: %w", what, err)
		}
		if n > 0 {
			blockers = append(blockers, fmt.Errorf("%d %s of IPsec, see ip-xfrm(8)", n, what))
		}
	}
	return blockers, nil
}
