package netns

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ckpt/internal/netlink"
	"ckpt/stream"
	"ckpt/stream/record"
)

// sound is a network that can be made.
func sound() *Network {
	return &Network{
		Links: []record.Link{{Index: 1, Name: "lo", Kind: "loopback"}, {Index: 2, Name: "va", Kind: "veth", Peer: 3, Master: 4}, {Index: 3, Name: "vb", Kind: "veth", Peer: 2, MAC: "02:00:00:00:00:01"},
			{Index: 4, Name: "br", Kind: "bridge", Settings: []record.LinkSetting{{Name: "bridge.priority", Value: 5}}}, {Index: 5, Name: "eth0", Kind: "macvlan", Outside: true},
			{Index: 6, Name: "t", Kind: "tun", Settings: []record.LinkSetting{{Name: "tun.type", Value: 1}}}},
		Addresses:  []record.NetAddress{{Index: 2, IP: "10.0.0.1", Prefix: 8, Peer: "10.0.0.2", Broadcast: "10.0.0.255", Label: "va"}, {Index: 3, IP: "fd00::1", Prefix: 64}},
		Routes:     []record.Route{{Family: 2, Table: 254, Type: 1, Hops: []record.Hop{{Index: 2, Gateway: "10.0.0.7"}}, Metrics: []record.RouteMetric{{Number: 2, Value: 1300}}}},
		Rules:      []record.NetRule{{Family: 10, Action: 1, Table: 254, Src: "fd00::", SrcPrefix: 8, Numbers: []record.NetNumber{{Number: 10, Value: 5}}}},
		Neighbours: []record.Neighbour{{Index: 2, IP: "10.0.0.7", MAC: "02:00:00:00:00:07"}},
		Sysctls:    []record.NetSysctls{{Folder: "ipv4/conf/va", Values: []record.NetSysctl{{Name: "forwarding", Value: "1"}}}},
	}
}

// TestCheck: what a stream says is not sent to the kernel before each part of it was judged.
func TestCheck(t *testing.T) {
	if errs := sound().Check(); len(errs) > 0 {
		t.Fatal(errs)
	}
	for name, spoil := range map[string]func(n *Network){
		"no loopback":              func(n *Network) { n.Links = n.Links[1:] },
		"another loopback":         func(n *Network) { n.Links[5].Kind, n.Links[5].Settings = "loopback", nil },
		"loopback outside":         func(n *Network) { n.Links[0].Outside = true },
		"number twice":             func(n *Network) { n.Links[2].Index = 2 },
		"number 0":                 func(n *Network) { n.Links[5].Index = 0 },
		"number too large":         func(n *Network) { n.Links[5].Index = firstAway },
		"name twice":               func(n *Network) { n.Links[2].Name = "va" },
		"name is another's second": func(n *Network) { n.Links[2].AltNames = []string{"va"} },
		"name with a slash":        func(n *Network) { n.Links[2].Name = "a/b" },
		"name with a percent sign": func(n *Network) { n.Links[2].Name = "a%d" },
		"name with a zero":         func(n *Network) { n.Links[2].Name = "a\x00b" },
		"name too long":            func(n *Network) { n.Links[2].Name = strings.Repeat("a", 16) },
		"name of a moved end":      func(n *Network) { n.Links[2].Name = away + "0" },
		"second name too long":     func(n *Network) { n.Links[2].AltNames = []string{strings.Repeat("a", 128)} },
		"unknown kind":             func(n *Network) { n.Links[3].Kind = "vxlan" },
		"end that is none":         func(n *Network) { n.Links[1].Peer = 4 },
		"end of its own":           func(n *Network) { n.Links[1].Peer = 2 },
		"end outside":              func(n *Network) { n.Links[2].Outside = true },
		"port of no bridge":        func(n *Network) { n.Links[1].Master = 3 },
		"bridge in a bridge":       func(n *Network) { n.Links[3].Master = 4 },
		"flags":                    func(n *Network) { n.Links[1].Flags = 1 << 20 },
		"address of a link":        func(n *Network) { n.Links[1].MAC = strings.Repeat("00:", 40) + "00" },
		"unknown setting":          func(n *Network) { n.Links[1].Settings = []record.LinkSetting{{Name: "x"}} },
		"setting of another kind":  func(n *Network) { n.Links[1].Settings = []record.LinkSetting{{Name: "bridge.priority"}} },
		"setting twice":            func(n *Network) { n.Links[3].Settings = append(n.Links[3].Settings, n.Links[3].Settings...) },
		"setting too large":        func(n *Network) { n.Links[3].Settings[0].Value = 1 << 16 },
		"tun of no type":           func(n *Network) { n.Links[5].Settings[0].Value = 3 },
		"address nowhere":          func(n *Network) { n.Addresses[0].Index = 77 },
		"address without one":      func(n *Network) { n.Addresses[0].IP = "" },
		"address not canonical":    func(n *Network) { n.Addresses[1].IP = "fd00:0::1" },
		"address with a zone":      func(n *Network) { n.Addresses[1].IP = "fe80::1%lo" },
		"prefix":                   func(n *Network) { n.Addresses[0].Prefix = 33 },
		"negative prefix":          func(n *Network) { n.Addresses[0].Prefix = -1 },
		"peer of another family":   func(n *Network) { n.Addresses[0].Peer = "fd00::1" },
		"broadcast of IPv6":        func(n *Network) { n.Addresses[0].Broadcast = "fd00::1" },
		"label":                    func(n *Network) { n.Addresses[0].Label = strings.Repeat("a", 16) },
		"scope":                    func(n *Network) { n.Addresses[0].Scope = 256 },
		"family of a route":        func(n *Network) { n.Routes[0].Family = 1 },
		"route's destination":      func(n *Network) { n.Routes[0].Dst = "fd00::" },
		"route's prefix alone":     func(n *Network) { n.Routes[0].DstPrefix = 5 },
		"route nowhere":            func(n *Network) { n.Routes[0].Hops[0].Index = 77 },
		"route's gateway":          func(n *Network) { n.Routes[0].Hops[0].Gateway = "x" },
		"route's weight":           func(n *Network) { n.Routes[0].Hops[0].Weight = 256 },
		"route's metric":           func(n *Network) { n.Routes[0].Metrics[0].Number = 0x4002 },
		"route's type":             func(n *Network) { n.Routes[0].Type = -1 },
		"too many ways":            func(n *Network) { n.Routes[0].Hops = make([]record.Hop, 257) },
		"rule's number":            func(n *Network) { n.Rules[0].Numbers[0].Number = 5 },
		"rule's number too large":  func(n *Network) { n.Rules[0].Numbers[0].Value = 1 << 32 },
		"rule's interface":         func(n *Network) { n.Rules[0].In = "a/b" },
		"neighbour nowhere":        func(n *Network) { n.Neighbours[0].Index = 77 },
		"neighbour's flags":        func(n *Network) { n.Neighbours[0].Flags = 1 },
		"setting above":            func(n *Network) { n.Sysctls[0].Folder = "ipv4/../../kernel" },
		"absolute setting":         func(n *Network) { n.Sysctls[0].Folder = "/proc/sys/kernel" },
		"setting elsewhere":        func(n *Network) { n.Sysctls[0].Folder = "kernel" },
		"setting of no interface":  func(n *Network) { n.Sysctls[0].Folder = "ipv4/conf/gone" },
		"setting of all": func(n *Network) {
			n.Sysctls[0] = record.NetSysctls{Folder: "netfilter", Values: []record.NetSysctl{{Name: "nf_hooks_lwtunnel", Value: "1"}}}
		},
		"setting's name":  func(n *Network) { n.Sysctls[0].Values[0].Name = "../x" },
		"setting's value": func(n *Network) { n.Sysctls[0].Values[0].Value = "1\x00" },
	} {
		n := sound()
		spoil(n)
		if errs := n.Check(); len(errs) == 0 {
			t.Errorf("%s is taken", name)
		}
	}
}

// TestNotTheHost: nothing is made in the network namespace that must not be changed, and
// nothing in one that has something in it.
func TestNotTheHost(t *testing.T) {
	enter(t)
	own := here(t)
	if c, err := DialNew(own); err == nil || !strings.Contains(err.Error(), "that of this host") {
		t.Error(c, err)
	}
	if c, err := DialNew(0); err == nil {
		t.Error(c, "without a host")
	}
	if _, err := DialNew(own + 1); err != nil {
		t.Error(err)
	}
	shell(t, "ip link set lo up")
	if c, err := DialNew(own + 1); err == nil || !strings.Contains(err.Error(), "interface lo is in it") {
		t.Error(c, err)
	}
	shell(t, "ip link set lo down; ip link add name x type bridge")
	if c, err := DialNew(own + 1); err == nil || !strings.Contains(err.Error(), "interface x is in it") {
		t.Error(c, err)
	}
}

func TestDecisions(t *testing.T) {
	for _, good := range [][]string{nil, {"eth0=none"}, {"veth:eth0=br0", "a=none"}, {"veth:it's=b"}, {"a=b=none"}} {
		if _, err := Parse(good); (err == nil) != (len(good) == 0 || good[0] != "a=b=none") {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range [][]string{{""}, {"eth0"}, {"eth0=br0"}, {"=none"}, {"veth:eth0=none/"}, {"veth:=br0"}, {"veth:eth0="}, {"eth0=none", "eth0=none"}, {"a/b=none"}} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	n := sound()
	n.Links = append(n.Links, record.Link{Index: 7, Name: "w'1", Outside: true})
	var none *Decisions
	errs := none.Check(n)
	want := `restore it with: --net 'eth0=none' --net 'w'\''1=none', which leaves it out; veth:NAME=BRIDGE in place of NAME=none makes an interface that a bridge of this host has the other end of`
	if len(errs) != 2 || errs[0].(*undecided).Hint() != "" || errs[1].(*undecided).Hint() != want {
		t.Errorf("%v", errs)
	}
	d, _ := Parse([]string{"veth:eth0=br0", "w'1=none"})
	if errs := d.Check(n); len(errs) > 0 {
		t.Error(errs)
	}
	if errs := d.Check(nil); len(errs) != 2 {
		t.Error(errs)
	}
	n.Sysctls = append(n.Sysctls, record.NetSysctls{Folder: "ipv4/conf/w'1"}, record.NetSysctls{Folder: "ipv4/conf/eth0"})
	s, out := d.settle(n)
	if len(s.Links) != 7 || len(out) != 1 || out[0].Bridge != "br0" || len(s.Sysctls) != 2 || len(n.Links) != 7 || !n.Links[4].Outside {
		t.Errorf("%+v %v", s, out)
	}
}

// FuzzMessages: what the kernel says is in a namespace that a target filled, so that no message
// of it may confuse us; what is read of one is what it was made of.
func FuzzMessages(f *testing.F) {
	n := sound()
	for i := range n.Routes {
		f.Add(routeMessage(&n.Routes[i]))
	}
	f.Add(ruleMessage(&n.Rules[0]))
	f.Add(addressMessage(&n.Addresses[0]))
	f.Add(neighbourMessage(&n.Neighbours[0]))
	f.Add(netlink.Text(newLink(5, 1, 1), 3, "x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := parseLink(cut(b, linkBytes)); err == nil {
			_ = l.blockers(map[int]*link{l.Index: l})
		}
		if r, odd, err := parseRoute(cut(b, 12)); err == nil && odd == nil && r != nil {
			again, odd, err := parseRoute(cut(routeMessage(r), 12))
			if r.Expires = 0; err == nil && odd == nil && again != nil && len(r.Hops) == 1 && len(r.Metrics) == 0 && routeGroup(again) != routeGroup(r) {
				t.Errorf("%+v\nbecomes\n%+v", r, again)
			}
		}
		if r, odd, err := parseRule(cut(b, ruleBytes)); err == nil && odd == nil {
			_ = ruleMessage(r)
		}
		if a, err := parseAddress(cut(b, 8)); err == nil {
			again, err := parseAddress(cut(addressMessage(a), 8))
			if err != nil || again.IP != a.IP {
				t.Errorf("%+v becomes %+v, %v", a, again, err)
			}
		}
		if e, err := parseNeighbour(cut(b, 12)); err == nil && e != nil {
			again, err := parseNeighbour(cut(neighbourMessage(e), 12))
			if err != nil || again == nil || !reflect.DeepEqual(again.IP, e.IP) {
				t.Errorf("%+v becomes %+v, %v", e, again, err)
			}
		}
	})
}

// cut divides a message into header and attributes.
func cut(b []byte, n int) (header, attrs []byte) {
	b = append(bytes.Clone(b), make([]byte, max(0, n-len(b)))...)
	return b[:n], b[n:]
}

// TestAdd: records of a stream become what they were.
func TestAdd(t *testing.T) {
	n, again := sound(), new(Network)
	var b bytes.Buffer
	w := stream.NewWriter(&b)
	if err := w.Add(record.TypeHeader, &record.Header{Stage: record.StageShared}); err != nil {
		t.Fatal(err)
	}
	if err := n.Records(5, func(t record.Type, meta any) error { return w.Add(t, meta) }); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.End(record.End{}), w.Flush()); err != nil {
		t.Fatal(err)
	}
	for rec, err := range stream.NewReader(&b).Records(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if IsPart(rec.Type) {
			if err := again.Add(rec); err != nil {
				t.Error(err)
			}
		}
	}
	if diff := cmp.Diff(n, again); diff != "" {
		t.Error(diff)
	}
}
