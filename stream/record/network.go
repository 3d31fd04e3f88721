package record

// Link is a network interface of a NAMESPACE of net, see ip-link(8).
type Link struct {
	Refs  PartOf `cbor:"refs"`                    // a NAMESPACE
	Index int    `cbor:"index" range:"1..2^31-1"` // its number, see if_nametoindex(3)
	Name  string `cbor:"name" range:"..15"`       // see dev_valid_name of the kernel
	// Kind is what it is, as ip-link(8) has it; loopback for that; absent: a device without a kind.
	Kind     string   `cbor:"kind,omitempty" range:"..15"`
	Outside  bool     `cbor:"outside,omitempty"`                // it leads out of the namespace, or can't be made again; a decision of the user takes its place
	Flags    uint32   `cbor:"flags"`                            // IFF_UP 1 and others that a user sets, see netdevice(7)
	MAC      string   `cbor:"mac,omitempty" range:"..95"`       // its address, as 02:00:00:00:00:01
	Alias    string   `cbor:"alias,omitempty" range:"..255"`    // see IFLA_IFALIAS
	AltNames []string `cbor:"alt_names,omitempty" range:"..64"` // its other names, each of at most 127 bytes
	Master   int      `cbor:"master,omitempty" range:"0.."`     // the number of the bridge that it is a port of
	Peer     int      `cbor:"peer,omitempty" range:"0.."`       // of veth: the number of the other end
	// Settings are the other ones, each of which has a name once.
	Settings []LinkSetting `cbor:"settings,omitempty" range:"..128"`
}

// LinkSetting is a number that an interface has, see internal/netns.
type LinkSetting struct {
	Name  string `cbor:"name" since:"0.2" range:"..32"` // for example mtu or bridge.ageing_time
	Value uint64 `cbor:"value" since:"0.2"`             // of the setting
}

// NetAddress is an address of an interface, see ip-address(8).
type NetAddress struct {
	Refs       PartOf `cbor:"refs"`                              // a NAMESPACE
	Index      int    `cbor:"index" range:"1..2^31-1"`           // of the LINK
	IP         string `cbor:"ip"`                                // as 10.0.0.1 or fd00::1
	Prefix     int    `cbor:"prefix" range:"0..128"`             // the length of its network's
	Peer       string `cbor:"peer,omitempty"`                    // the address at the other side, if it has one
	Broadcast  string `cbor:"broadcast,omitempty"`               // of IPv4
	Label      string `cbor:"label,omitempty" range:"..15"`      // of IPv4
	Flags      uint32 `cbor:"flags,omitempty"`                   // IFA_F_NODAD 2, IFA_F_NOPREFIXROUTE 0x200 and so on; IFA_F_TENTATIVE 0x40 is what it was in
	Scope      int    `cbor:"scope,omitempty" range:"0..255"`    // RT_SCOPE_LINK 253 and so on
	Metric     uint32 `cbor:"metric,omitempty"`                  // of the route to its network
	Protocol   int    `cbor:"protocol,omitempty" range:"0..255"` // who made it: IFAPROT_KERNEL_LL 3 and so on
	Valid      uint32 `cbor:"valid,omitempty" unit:"s"`          // how long it is there; 0: for ever
	Preferred  uint32 `cbor:"preferred,omitempty" unit:"s"`      // how long it is preferred; 0: as long
	Deprecated bool   `cbor:"deprecated,omitempty"`              // it is preferred no longer
}

// Route is one of IPv4 or IPv6, see ip-route(8).
type Route struct {
	Refs      PartOf `cbor:"refs"`                                // a NAMESPACE
	Family    int    `cbor:"family" range:"2|10"`                 // AF_INET 2, AF_INET6 10
	Dst       string `cbor:"dst,omitempty"`                       // where it leads; absent: anywhere
	DstPrefix int    `cbor:"dst_prefix" range:"0..128"`           // how many bits of that count
	Src       string `cbor:"src,omitempty"`                       // from where, of IPv6
	SrcPrefix int    `cbor:"src_prefix,omitempty" range:"0..128"` // how many bits of that count
	TOS       int    `cbor:"tos,omitempty" range:"0..255"`        // the type of service it is for; 0: any
	Table     uint32 `cbor:"table"`                               // RT_TABLE_MAIN 254 and so on
	Protocol  int    `cbor:"protocol" range:"0..255"`             // who made it: RTPROT_KERNEL 2 and so on
	Scope     int    `cbor:"scope,omitempty" range:"0..255"`      // RT_SCOPE_LINK 253 and so on
	Type      int    `cbor:"type" range:"1..255"`                 // RTN_UNICAST 1 and so on
	Flags     uint32 `cbor:"flags,omitempty"`                     // RTNH_F_ONLINK 4, RTNH_F_PERVASIVE 2
	Prefsrc   string `cbor:"prefsrc,omitempty"`                   // the address that is sent from
	Priority  uint32 `cbor:"priority,omitempty"`                  // also called metric
	Pref      int    `cbor:"pref,omitempty" range:"0..255"`       // of IPv6, see ICMPV6_ROUTER_PREF_LOW
	Expires   uint32 `cbor:"expires,omitempty" unit:"s"`          // how long it is there, of IPv6; 0: for ever
	// Metrics are what it tells of the way, by RTAX_ number of linux/rtnetlink.h.
	Metrics    []RouteMetric `cbor:"metrics,omitempty" range:"..32"`
	Congestion string        `cbor:"congestion,omitempty" range:"..15"` // RTAX_CC_ALGO
	Hops       []Hop         `cbor:"hops,omitempty" range:"..256"`      // where packets are sent: several share them
}

// RouteMetric is one of a ROUTE.
type RouteMetric struct {
	Number int    `cbor:"number" since:"0.2" range:"1..64"` // RTAX_MTU 2 and so on
	Value  uint32 `cbor:"value" since:"0.2"`                // of the metric
}

// Hop is a way that a ROUTE takes.
type Hop struct {
	Index   int    `cbor:"index,omitempty" since:"0.2" range:"0.."`     // of the LINK
	Gateway string `cbor:"gateway,omitempty" since:"0.2"`               // as 10.0.0.1 or fd00::1
	Flags   uint32 `cbor:"flags,omitempty" since:"0.2" range:"0..255"`  // as those of a ROUTE
	Weight  int    `cbor:"weight,omitempty" since:"0.2" range:"0..255"` // less 1
	Realm   uint32 `cbor:"realm,omitempty" since:"0.2"`                 // see RTA_FLOW
}

// NetRule says which table of routes is looked into, see ip-rule(8).
type NetRule struct {
	Refs      PartOf      `cbor:"refs"`                                // a NAMESPACE
	Family    int         `cbor:"family" range:"2|10"`                 // AF_INET 2, AF_INET6 10
	Priority  uint32      `cbor:"priority"`                            // the lowest comes first
	Action    int         `cbor:"action" range:"1..255"`               // FR_ACT_TO_TBL 1 and so on
	Invert    bool        `cbor:"invert,omitempty"`                    // it is for what does not match
	Table     uint32      `cbor:"table,omitempty"`                     // RT_TABLE_MAIN 254 and so on
	Dst       string      `cbor:"dst,omitempty"`                       // as 10.0.0.1 or fd00::1
	DstPrefix int         `cbor:"dst_prefix,omitempty" range:"0..128"` // how many bits of that count
	Src       string      `cbor:"src,omitempty"`                       // as 10.0.0.1 or fd00::1
	SrcPrefix int         `cbor:"src_prefix,omitempty" range:"0..128"` // how many bits of that count
	TOS       int         `cbor:"tos,omitempty" range:"0..255"`        // the type of service it is for; 0: any
	Protocol  int         `cbor:"protocol,omitempty" range:"0..255"`   // who made it
	In        string      `cbor:"in,omitempty" range:"..15"`           // the name of the interface by which packets come
	Out       string      `cbor:"out,omitempty" range:"..15"`          // by which they go
	Numbers   []NetNumber `cbor:"numbers,omitempty" range:"..16"`      // other properties, by FRA_ number of linux/fib_rules.h
}

// NetNumber is one of a NETRULE.
type NetNumber struct {
	Number int    `cbor:"number" since:"0.2" range:"1..64"` // FRA_FWMARK 10 and so on
	Value  uint64 `cbor:"value" since:"0.2"`                // of the property; of a range its first number, and the last in the upper 32 bits
}

// Neighbour is an entry of the tables of neighbours that was made by hand, see
// ip-neighbour(8).
type Neighbour struct {
	Refs     PartOf `cbor:"refs"`                              // a NAMESPACE
	Index    int    `cbor:"index" range:"1..2^31-1"`           // of the LINK
	IP       string `cbor:"ip"`                                // as 10.0.0.1 or fd00::1
	MAC      string `cbor:"mac,omitempty" range:"..95"`        // its address on the link, as that of a LINK
	Flags    int    `cbor:"flags,omitempty" range:"0..255"`    // NTF_ROUTER 0x80; NTF_PROXY 8: the host answers for it
	Protocol int    `cbor:"protocol,omitempty" range:"0..255"` // who made it: RTPROT_KERNEL 2 and so on
}

// NetSysctls are the values in a folder of /proc/sys/net.
type NetSysctls struct {
	Refs   PartOf      `cbor:"refs"`                  // a NAMESPACE
	Folder string      `cbor:"folder" range:"..255"`  // for example ipv4/conf/all
	Values []NetSysctl `cbor:"values" range:"..1024"` // of the files there that can be written
}

// NetSysctl is one of them.
type NetSysctl struct {
	Name  string `cbor:"name" since:"0.2" range:"..127"`   // of the file
	Value string `cbor:"value" since:"0.2" range:"..4096"` // without the line's end
}
