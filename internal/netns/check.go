package netns

import (
	"bytes"
	"fmt"
	"net"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/stream"
	"ckpt/stream/record"
)

// isName reports whether an interface can have a name, which dev_valid_name of the kernel
// says. In one with % the kernel puts a number.
func isName(s string) bool { return len(s) < unix.IFNAMSIZ && isLongName(s) }

// isLongName is isName for other names, of which ALTIFNAMSIZ bytes are allowed.
func isLongName(s string) bool {
	// Among what isspace of the kernel takes for a space is the byte 0xa0.
	return s != "" && s != "." && s != ".." && len(s) < 128 && !strings.ContainsAny(s, "/:% \t\n\v\f\r\x00") && !bytes.Contains([]byte(s), []byte{0xa0})
}

// checker collects what is wrong with a network of a stream.
type checker struct {
	links map[int]*record.Link
	names map[string]bool
	errs  []error
}

func (k *checker) bad(format string, args ...any) {
	k.errs = append(k.errs, fmt.Errorf("%w: "+format, append([]any{stream.ErrCorrupt}, args...)...))
}

// Check judges what a stream says of a network namespace. What it accepts has only lengths
// that fit, and names only what is there.
func (n *Network) Check() []error {
	k := &checker{links: map[int]*record.Link{}, names: map[string]bool{}}
	for i := range n.Links {
		l := &n.Links[i]
		if k.links[l.Index] != nil || l.Index < 1 || l.Index >= firstAway {
			k.bad("interface %q has the number %d", l.Name, l.Index)
		}
		k.links[l.Index] = l
	}
	for i := range n.Links {
		k.link(&n.Links[i])
	}
	if lo := k.links[1]; lo == nil || lo.Kind != kindLoopback {
		k.bad("a network namespace without a loopback interface")
	}
	for i := range n.Addresses {
		k.address(&n.Addresses[i])
	}
	for i := range n.Routes {
		k.route(&n.Routes[i])
	}
	for i := range n.Rules {
		k.rule(&n.Rules[i])
	}
	for i := range n.Neighbours {
		k.neighbour(&n.Neighbours[i])
	}
	for i := range n.Sysctls {
		k.sysctls(&n.Sysctls[i])
	}
	return k.errs
}

func (k *checker) link(l *record.Link) {
	for i, name := range append([]string{l.Name}, l.AltNames...) {
		if i == 0 && !isName(name) || !isLongName(name) || k.names[name] || strings.HasPrefix(name, away) {
			k.bad("an interface with the name %q", name)
		}
		k.names[name] = true
	}
	bridge := k.links[l.Master]
	peer := k.links[l.Peer]
	switch {
	case l.Kind == kindLoopback && (l.Outside || l.Index != 1 || l.Name != "lo"), l.Index == 1 && l.Kind != kindLoopback:
		k.bad("interface %q is the loopback interface", l.Name)
	case l.Outside && l.Peer != 0, l.Kind != kindVeth && l.Peer != 0:
		k.bad("interface %q of kind %q has another end", l.Name, l.Kind)
	case l.Kind == kindVeth && !l.Outside && (peer == nil || peer == l || peer.Kind != kindVeth || peer.Outside || peer.Peer != l.Index):
		k.bad("interface %q has the other end %d, which is none", l.Name, l.Peer)
	case l.Master != 0 && (bridge == nil || bridge.Kind != kindBridge || bridge.Outside || l.Kind == kindBridge):
		k.bad("interface %q is part of %d, which is no bridge", l.Name, l.Master)
	case !l.Outside && !slices.Contains(append([]string{kindLoopback, kindBridge, kindVeth, kindTun}, plainKinds...), l.Kind):
		k.bad("interface %q is of kind %q", l.Name, l.Kind)
	case len(l.Alias) > 255 || l.Flags&^userFlags != 0:
		k.bad("interface %q has an alias of %d bytes, and flags %#x", l.Name, len(l.Alias), l.Flags)
	}
	k.mac(l.MAC)
	k.settings(l)
}

func (k *checker) settings(l *record.Link) {
	seen := map[string]bool{}
	for _, s := range l.Settings {
		if seen[s.Name] || !known(l, s) {
			k.bad("interface %q has the setting %q, %d", l.Name, s.Name, s.Value)
		}
		seen[s.Name] = true
	}
	if kind, ok := value(l, "tun.type"); l.Kind == kindTun && !l.Outside && (!ok || kind != unix.IFF_TUN && kind != unix.IFF_TAP) {
		k.bad("interface %q is of type %d", l.Name, kind)
	}
}

// ip checks an address and how many of its bits count.
func (k *checker) ip(what string, ip string, prefix int) {
	b := ipBytes(ip)
	if ipText(b) != ip || len(b) == 0 || prefix < 0 || prefix > 8*len(b) {
		k.bad("%s, %q, of which %d bits count", what, ip, prefix)
	}
}

// optional is ip for one of a family that may be absent.
func (k *checker) optional(what string, ip string, prefix, family int) {
	if ip == "" && prefix == 0 {
		return
	}
	k.ip(what, ip, prefix)
	if family != 0 && int(familyOf(ip)) != family {
		k.bad("%s of another family", what)
	}
}

func (k *checker) mac(mac string) {
	if b := macBytes(mac); net.HardwareAddr(b).String() != mac || len(b) > 32 {
		k.bad("the address %q of an interface", mac)
	}
}

func (k *checker) on(what string, index int) {
	if k.links[index] == nil {
		k.bad("%s on interface %d, which is not there", what, index)
	}
}

func isByte(n ...int) bool {
	return !slices.ContainsFunc(n, func(n int) bool { return n < 0 || n > 255 })
}

func (k *checker) address(a *record.NetAddress) {
	k.ip("an address", a.IP, a.Prefix)
	k.on("an address", a.Index)
	k.optional("the other side of an address", a.Peer, 0, int(familyOf(a.IP)))
	k.optional("a broadcast address", a.Broadcast, 0, unix.AF_INET)
	if !isByte(a.Scope, a.Protocol) ||
		len(a.Label) >= unix.IFNAMSIZ || strings.Contains(a.Label, "\x00") || a.Flags&^(addressFlags|unix.IFA_F_TENTATIVE) != 0 {
		k.bad("the address %s", a.IP)
	}
}

func isFamily(family int) bool { return family == unix.AF_INET || family == unix.AF_INET6 }

func (k *checker) route(r *record.Route) {
	const what = "a route"
	k.optional(what, r.Dst, r.DstPrefix, r.Family)
	k.optional(what, r.Src, r.SrcPrefix, r.Family)
	k.optional(what, r.Prefsrc, 0, r.Family)
	if !isFamily(r.Family) || !isByte(r.TOS, r.Protocol, r.Scope, r.Type, r.Pref) || r.Flags&^routeFlags != 0 || len(r.Congestion) > 15 || strings.Contains(r.Congestion, "\x00") || len(r.Hops) > 256 {
		k.bad("a route of family %d and type %d", r.Family, r.Type)
	}
	for _, m := range r.Metrics {
		if m.Number < 1 || m.Number > maxMetric || m.Number == ccAlgo {
			k.bad("a route with the metric %d", m.Number)
		}
	}
	for _, h := range r.Hops {
		k.optional("a route's gateway", h.Gateway, 0, 0)
		if h.Index != 0 {
			k.on(what, h.Index)
		}
		if h.Flags&^routeFlags != 0 || !isByte(h.Weight) {
			k.bad("a route with a way of flags %#x, weight %d", h.Flags, h.Weight)
		}
	}
}

func (k *checker) rule(r *record.NetRule) {
	const what = "a rule"
	k.optional(what, r.Dst, r.DstPrefix, r.Family)
	k.optional(what, r.Src, r.SrcPrefix, r.Family)
	if !isFamily(r.Family) || !isByte(r.TOS, r.Protocol, r.Action) || r.In != "" && !isName(r.In) || r.Out != "" && !isName(r.Out) {
		k.bad("a rule of family %d, action %d, interfaces %q and %q", r.Family, r.Action, r.In, r.Out)
	}
	seen := map[int]bool{}
	for _, n := range r.Numbers {
		bytes := ruleNumbers[n.Number]
		if bytes == 0 || seen[n.Number] || bytes < 8 && n.Value>>(8*bytes) != 0 {
			k.bad("a rule with the number %d, %d", n.Number, n.Value)
		}
		seen[n.Number] = true
	}
}

func (k *checker) neighbour(n *record.Neighbour) {
	k.ip("a neighbour", n.IP, 0)
	k.on("a neighbour", n.Index)
	k.mac(n.MAC)
	if n.Flags&^neighbourFlags != 0 || !isByte(n.Protocol) {
		k.bad("the neighbour %s", n.IP)
	}
}

func (k *checker) sysctls(s *record.NetSysctls) {
	for i := range s.Values {
		if !isSysctl(s.Folder, &s.Values[i]) {
			k.bad("the network setting %q in %q", s.Values[i].Name, s.Folder)
		}
	}
	if d := device(s.Folder); d != "" && !k.names[d] {
		k.bad("network settings of interface %q, which is not there", d)
	}
}
