package netns

import (
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/netlink"
	"ckpt/stream/record"
)

// setting is a number that an interface has, and how it is read and set by netlink.
type setting struct {
	name  string
	typ   int
	bytes int
}

// of interfaces of all kinds
var linkSettings = []setting{
	{"mtu", unix.IFLA_MTU, 4}, {"tx_queue", unix.IFLA_TXQLEN, 4}, {"group", unix.IFLA_GROUP, 4}, {"link_mode", unix.IFLA_LINKMODE, 1},
	{"gso_max_segs", unix.IFLA_GSO_MAX_SEGS, 4}, {"gso_max_size", unix.IFLA_GSO_MAX_SIZE, 4}, {"gro_max_size", unix.IFLA_GRO_MAX_SIZE, 4},
	{"gso_ipv4_max_size", unix.IFLA_GSO_IPV4_MAX_SIZE, 4}, {"gro_ipv4_max_size", unix.IFLA_GRO_IPV4_MAX_SIZE, 4},
}

// bridgeSettings are those of IFLA_INFO_DATA of a bridge.
var bridgeSettings = []setting{
	{"bridge.forward_delay", unix.IFLA_BR_FORWARD_DELAY, 4}, {"bridge.hello_time", unix.IFLA_BR_HELLO_TIME, 4}, {"bridge.max_age", unix.IFLA_BR_MAX_AGE, 4},
	{"bridge.ageing_time", unix.IFLA_BR_AGEING_TIME, 4}, {"bridge.stp_state", unix.IFLA_BR_STP_STATE, 4}, {"bridge.priority", unix.IFLA_BR_PRIORITY, 2},
	{"bridge.group_fwd_mask", unix.IFLA_BR_GROUP_FWD_MASK, 2}, {"bridge.mcast_router", unix.IFLA_BR_MCAST_ROUTER, 1},
	{"bridge.mcast_snooping", unix.IFLA_BR_MCAST_SNOOPING, 1}, {"bridge.mcast_query_use_ifaddr", unix.IFLA_BR_MCAST_QUERY_USE_IFADDR, 1},
	{"bridge.mcast_querier", unix.IFLA_BR_MCAST_QUERIER, 1}, {"bridge.mcast_hash_max", unix.IFLA_BR_MCAST_HASH_MAX, 4},
	{"bridge.mcast_last_member_count", unix.IFLA_BR_MCAST_LAST_MEMBER_CNT, 4}, {"bridge.mcast_startup_query_count", unix.IFLA_BR_MCAST_STARTUP_QUERY_CNT, 4},
	{"bridge.mcast_last_member_interval", unix.IFLA_BR_MCAST_LAST_MEMBER_INTVL, 8}, {"bridge.mcast_membership_interval", unix.IFLA_BR_MCAST_MEMBERSHIP_INTVL, 8},
	{"bridge.mcast_querier_interval", unix.IFLA_BR_MCAST_QUERIER_INTVL, 8}, {"bridge.mcast_query_interval", unix.IFLA_BR_MCAST_QUERY_INTVL, 8},
	{"bridge.mcast_query_response_interval", unix.IFLA_BR_MCAST_QUERY_RESPONSE_INTVL, 8}, {"bridge.mcast_startup_query_interval", unix.IFLA_BR_MCAST_STARTUP_QUERY_INTVL, 8},
	{"bridge.nf_call_iptables", unix.IFLA_BR_NF_CALL_IPTABLES, 1}, {"bridge.nf_call_ip6tables", unix.IFLA_BR_NF_CALL_IP6TABLES, 1}, {"bridge.nf_call_arptables", unix.IFLA_BR_NF_CALL_ARPTABLES, 1},
	{"bridge.mcast_stats_enabled", unix.IFLA_BR_MCAST_STATS_ENABLED, 1}, {"bridge.mcast_igmp_version", unix.IFLA_BR_MCAST_IGMP_VERSION, 1}, {"bridge.mcast_mld_version", unix.IFLA_BR_MCAST_MLD_VERSION, 1},
	{"bridge.fdb_max_learned", unix.IFLA_BR_FDB_MAX_LEARNED, 4}, {"bridge.options", unix.IFLA_BR_MULTI_BOOLOPT, 0},
}

// portSettings are those of IFLA_INFO_SLAVE_DATA of a port of a bridge.
var portSettings = []setting{
	{"port.priority", unix.IFLA_BRPORT_PRIORITY, 2}, {"port.cost", unix.IFLA_BRPORT_COST, 4}, {"port.hairpin", unix.IFLA_BRPORT_MODE, 1}, {"port.guard", unix.IFLA_BRPORT_GUARD, 1},
	{"port.root_block", unix.IFLA_BRPORT_PROTECT, 1}, {"port.fast_leave", unix.IFLA_BRPORT_FAST_LEAVE, 1}, {"port.learning", unix.IFLA_BRPORT_LEARNING, 1},
	{"port.flood", unix.IFLA_BRPORT_UNICAST_FLOOD, 1}, {"port.proxy_arp", unix.IFLA_BRPORT_PROXYARP, 1}, {"port.proxy_arp_wifi", unix.IFLA_BRPORT_PROXYARP_WIFI, 1},
	{"port.mcast_router", unix.IFLA_BRPORT_MULTICAST_ROUTER, 1}, {"port.mcast_flood", unix.IFLA_BRPORT_MCAST_FLOOD, 1}, {"port.mcast_to_unicast", unix.IFLA_BRPORT_MCAST_TO_UCAST, 1},
	{"port.bcast_flood", unix.IFLA_BRPORT_BCAST_FLOOD, 1}, {"port.group_fwd_mask", unix.IFLA_BRPORT_GROUP_FWD_MASK, 2}, {"port.neigh_suppress", unix.IFLA_BRPORT_NEIGH_SUPPRESS, 1},
	{"port.isolated", unix.IFLA_BRPORT_ISOLATED, 1}, {"port.locked", unix.IFLA_BRPORT_LOCKED, 1}, {"port.mab", unix.IFLA_BRPORT_MAB, 1},
	{"port.mcast_hosts_limit", unix.IFLA_BRPORT_MCAST_EHT_HOSTS_LIMIT, 4}, {"port.mcast_max_groups", unix.IFLA_BRPORT_MCAST_MAX_GROUPS, 4},
}

// tunSettings are those of IFLA_INFO_DATA of a tun device, which are set otherwise.
var tunSettings = []setting{
	{"tun.owner", unix.IFLA_TUN_OWNER, 4}, {"tun.group", unix.IFLA_TUN_GROUP, 4}, {"tun.type", unix.IFLA_TUN_TYPE, 1}, {"tun.pi", unix.IFLA_TUN_PI, 1},
	{"tun.vnet_hdr", unix.IFLA_TUN_VNET_HDR, 1}, {"tun.persist", unix.IFLA_TUN_PERSIST, 1}, {"tun.multi_queue", unix.IFLA_TUN_MULTI_QUEUE, 1},
}

// genMode is how an interface gets its own address of IPv6, IFLA_INET6_ADDR_GEN_MODE.
const genMode = "addr_gen_mode"

const (
	genNone       = 1 // IN6_ADDR_GEN_MODE_NONE of linux/if_link.h
	boolOptsBytes = 8 // struct br_boolopt_multi
)

// readSettings adds the settings that are among the attributes.
func readSettings(l *record.Link, all []setting, t table) {
	for _, s := range all {
		v, ok := t[s.typ]
		switch {
		case ok && len(v) == s.bytes:
			l.Settings = append(l.Settings, record.LinkSetting{Name: s.name, Value: number(v)})
		case ok && s.bytes == 0 && len(v) == boolOptsBytes:
			l.Settings = append(l.Settings, record.LinkSetting{Name: s.name, Value: number(v[:4]) & boolOpts})
		}
	}
}

// append appends a setting as an attribute.
func (s *setting) append(b []byte, value uint64) []byte {
	switch s.bytes {
	case 1:
		return u8(b, s.typ, uint8(value))
	case 2:
		return u16(b, s.typ, uint16(value))
	case 4:
		return u32(b, s.typ, uint32(value))
	case 8:
		return u64(b, s.typ, value)
	}
	return u64(b, s.typ, value|boolOpts<<32) // optval and optmask
}

func (s *setting) fits(value uint64) bool {
	switch s.bytes {
	case 0:
		return value&^boolOpts == 0
	case 8:
		return true
	}
	return value>>(8*s.bytes) == 0
}

// boolOpts are the bits of struct br_boolopt_multi that are known: all but
// BR_BOOLOPT_MDB_OFFLOAD_FAIL_NOTIFICATION, for hardware.
const boolOpts = 1 | 2

// value returns a setting of an interface.
func value(l *record.Link, name string) (uint64, bool) {
	i := slices.IndexFunc(l.Settings, func(s record.LinkSetting) bool { return s.Name == name })
	if i < 0 {
		return 0, false
	}
	return l.Settings[i].Value, true
}

// differing appends attributes for the settings that are to be others than they are.
func differing(all []setting, want, have *record.Link) (b []byte) {
	for i := range all {
		w, ok := value(want, all[i].name)
		if h, has := value(have, all[i].name); ok && (!has || h != w) {
			b = all[i].append(b, w)
		}
	}
	return b
}

// known reports whether a setting has a name, and a value that fits.
func known(l *record.Link, s record.LinkSetting) bool {
	if s.Name == genMode {
		return s.Value <= 0xff
	}
	lists := [][]setting{linkSettings}
	switch l.Kind {
	case "bridge":
		lists = append(lists, bridgeSettings)
	case "tun":
		lists = append(lists, tunSettings)
	}
	if l.Master != 0 {
		lists = append(lists, portSettings)
	}
	for _, list := range lists {
		for _, k := range list {
			if k.name == s.Name {
				return k.fits(s.Value)
			}
		}
	}
	return false
}

// afSpec is IFLA_AF_SPEC with the mode in which an interface gets its own address.
func afSpec(b []byte, mode uint64) []byte {
	return netlink.Inside(b, unix.IFLA_AF_SPEC, netlink.Inside(nil, unix.AF_INET6, u8(nil, unix.IFLA_INET6_ADDR_GEN_MODE, uint8(mode))))
}
