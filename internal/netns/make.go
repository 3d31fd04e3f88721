package netns

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/netlink"
	"ckpt/stream/record"
)

// Made is what came of Make.
type Made struct {
	Out   []Decision // interfaces whose other ends are to be moved to the host by MoveOut
	Lacks []string   // settings that this kernel does not have
}

// Make fills the new namespace of a Conn, in which the calling thread must be.
func (c *Conn) Make(n *Network, d *Decisions) (*Made, error) {
	want, out := d.settle(n)
	w := &sysctlWriter{lacks: map[string]bool{}}
	for _, step := range []struct {
		what string
		do   func(*Network) error
	}{
		{"network settings", func(n *Network) error {
			return w.write(n.Sysctls, func(folder string) bool { return device(folder) == "" })
		}},
		{"network interfaces", c.makeLinks},
		{"settings of network interfaces", func(n *Network) error {
			return w.write(n.Sysctls, func(folder string) bool { return device(folder) != "" })
		}},
		{"addresses of network interfaces", func(n *Network) error { return c.makeAddresses(n, w) }},
		{"neighbours", c.makeNeighbours},
		{"routes", c.makeRoutes},
		{"rules for routes", c.makeRules},
		{"network interfaces", func(n *Network) error { return each(n.Links, c.ownAddress) }},
		{"network settings", func(n *Network) error { return w.write(n.Sysctls, func(string) bool { return true }) }},
	} {
		if err := step.do(want); err != nil {
			return nil, fmt.Errorf("make %s of a network namespace: %w", step.what, err)
		}
	}
	return &Made{out, slices.Sorted(maps.Keys(w.lacks))}, nil
}

func (c *Conn) makeLinks(n *Network) error {
	byIndex := map[int]*record.Link{}
	for i := range n.Links {
		byIndex[n.Links[i].Index] = &n.Links[i]
	}
	for i := range n.Links {
		l := &n.Links[i]
		if l.Kind == kindLoopback || l.Kind == kindVeth && l.Index > l.Peer && byIndex[l.Peer] != nil {
			continue
		}
		if err := c.makeLink(l, byIndex[l.Peer]); err != nil {
			return fmt.Errorf("%s: %w", Named(l), err)
		}
	}
	return errors.Join(c.changeLinks(n, c.set), c.makePorts(n), c.upAll(n))
}

// changeLinks does something with each interface and what it is now.
func (c *Conn) changeLinks(n *Network, do func(want *record.Link, have *link) error) error {
	links, err := c.links()
	if err != nil {
		return err
	}
	have := map[int]*link{}
	for i := range links {
		have[links[i].Index] = &links[i]
	}
	return each(n.Links, func(l *record.Link) error {
		h := have[l.Index]
		if h == nil || h.Name != l.Name {
			return fmt.Errorf("%s is not there with the number %d", Named(l), l.Index)
		}
		if err := do(l, h); err != nil {
			return fmt.Errorf("%s: %w", Named(l), err)
		}
		return nil
	})
}

// makePorts puts interfaces on their bridges. That of the ports came first changes the
// bridge's address, unless it was set.
func (c *Conn) makePorts(n *Network) error {
	ports := &Network{Links: kept(n.Links, func(l *record.Link) bool { return l.Master != 0 })}
	return errors.Join(each(ports.Links, c.enslave), c.changeLinks(ports, c.setPort))
}

func (c *Conn) upAll(n *Network) error {
	ups := kept(n.Links, func(l *record.Link) bool { return l.Flags&unix.IFF_UP != 0 })
	up := func(l *record.Link) error { return c.up(l.Index, unix.IFF_UP) }
	without := kept(ups, func(l *record.Link) bool {
		return l.Kind == kindTun || l.Kind == kindVeth && !slices.ContainsFunc(ups, func(p record.Link) bool { return p.Index == l.Peer })
	})
	if err := each(ups, up); err != nil || len(without) == 0 {
		return err
	}
	if err := c.awaitNoCarrier(without); err != nil {
		return err
	}
	return errors.Join(each(without, func(l *record.Link) error { return c.up(l.Index, 0) }), each(without, up))
}

// awaitNoCarrier waits until the kernel knows that interfaces have no carrier, which it finds
// out within a second. One that was turned on before gets no address of its own when it has a
// carrier later.
func (c *Conn) awaitNoCarrier(all []record.Link) error {
	const operUnknown, most = 0, 2 * time.Second // IF_OPER_UNKNOWN
	without := map[int]bool{}
	for i := range all {
		without[all[i].Index] = true
	}
	for end := time.Now().Add(most); ; time.Sleep(time.Millisecond) {
		links, err := c.links()
		if err != nil {
			return err
		}
		waits := slices.ContainsFunc(links, func(l link) bool { return without[l.Index] && l.state == operUnknown })
		if !waits || time.Now().After(end) {
			return nil
		}
	}
}

// things is how those of a kind are made what they are to be.
type things[T any] struct {
	key   func(*T) string // all of it
	group func(*T) string // what those have in common whose order matters
	add   func(*T) error
	del   func(*T) error
	help  func(failed []T) (over func() error, err error) // does what may let them be made
}

// reconcile deletes what is not wanted, or not in the order that is, and makes what is
// missing. What can't be made yet is tried again when others are.
func (k *things[T]) reconcile(want, have []T) error {
	wanted, kept := map[string][]string{}, map[string]int{}
	for i := range want {
		g := k.group(&want[i])
		wanted[g] = append(wanted[g], k.key(&want[i]))
	}
	var errs []error
	for i := range have {
		g, key := k.group(&have[i]), k.key(&have[i])
		if n := kept[g]; n >= 0 && n < len(wanted[g]) && wanted[g][n] == key {
			kept[g]++
		}
	}
	there := map[string]int{}
	for i := range have {
		g, key := k.group(&have[i]), k.key(&have[i])
		if n := there[g]; n < kept[g] && wanted[g][n] == key {
			there[g]++
			continue
		}
		if err := k.del(&have[i]); err != nil && !isGone(err) {
			errs = append(errs, fmt.Errorf("remove %s: %w", key, err))
		}
	}
	var missing []T
	for i := range want {
		g := k.group(&want[i])
		if kept[g]--; kept[g] < 0 {
			missing = append(missing, want[i])
		}
	}
	return errors.Join(append(errs, k.make(missing))...)
}

// make makes all, in as many passes as it takes.
func (k *things[T]) make(all []T) error {
	helped := k.help == nil
	for len(all) > 0 {
		failed, why := k.pass(all)
		switch {
		case len(failed) < len(all):
		case helped:
			return why
		default:
			helped = true
			over, err := k.help(all)
			if err != nil {
				return errors.Join(why, err)
			}
			failed, why = k.pass(all)
			if err := over(); err != nil || len(failed) == len(all) {
				return errors.Join(why, err)
			}
		}
		all = failed
	}
	return nil
}

// pass makes those that can be made, none before one of its group that can't.
func (k *things[T]) pass(all []T) (failed []T, why error) {
	behind := map[string]bool{}
	var errs []error
	for i := range all {
		g := k.group(&all[i])
		if behind[g] {
			failed = append(failed, all[i])
			continue
		}
		if err := k.add(&all[i]); err != nil && err != unix.EEXIST {
			behind[g] = true
			failed = append(failed, all[i])
			errs = append(errs, fmt.Errorf("%s: %w", k.key(&all[i]), err))
		}
	}
	return failed, errors.Join(errs...)
}

// isGone reports whether an error says that what is to be removed is not there.
func isGone(err error) bool {
	return err == unix.ESRCH || err == unix.ENOENT || err == unix.EADDRNOTAVAIL
}

// withoutDAD are settings with which an address of IPv6 is not asked for on its link first:
// a program could not be bound to it for a second. They are put back in the end.
func withoutDAD(n *Network) (all []record.NetSysctls) {
	for i := range n.Sysctls {
		s := &n.Sysctls[i]
		for _, v := range s.Values {
			if v.Name == "accept_dad" && v.Value != "-1" {
				all = append(all, record.NetSysctls{Folder: s.Folder, Values: []record.NetSysctl{{Name: v.Name, Value: "0"}}})
			}
		}
	}
	return all
}

func (c *Conn) makeAddresses(n *Network, w *sysctlWriter) error {
	if err := w.write(withoutDAD(n), func(string) bool { return true }); err != nil {
		return err
	}
	have, err := c.addresses()
	if err != nil {
		return err
	}
	k := things[record.NetAddress]{key: addressKey, group: func(a *record.NetAddress) string { return fmt.Sprint(a.Index, familyOf(a.IP)) }, add: c.addAddress, del: c.deleteAddress}
	if err := k.reconcile(inOrder(n.Addresses), inOrder(have)); err != nil {
		return err
	}
	return c.awaitAddresses(n)
}

// inOrder returns addresses in the order in which they were given: of IPv6 the kernel lists
// the last first.
func inOrder(all []record.NetAddress) []record.NetAddress {
	four := kept(all, func(a *record.NetAddress) bool { return familyOf(a.IP) == unix.AF_INET })
	six := kept(all, func(a *record.NetAddress) bool { return familyOf(a.IP) != unix.AF_INET })
	slices.Reverse(six)
	return append(four, six...)
}

// patience is how long it may take until an address can be used.
const patience = 10 * time.Second

// awaitAddresses waits until those can be used that could be.
func (c *Conn) awaitAddresses(n *Network) error {
	usable := map[string]bool{}
	for i := range n.Addresses {
		a := &n.Addresses[i]
		usable[addressKey(a)] = a.Flags&unix.IFA_F_TENTATIVE == 0
	}
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		have, err := c.addresses()
		if err != nil {
			return err
		}
		i := slices.IndexFunc(have, func(a record.NetAddress) bool { return a.Flags&unix.IFA_F_TENTATIVE != 0 && usable[addressKey(&a)] })
		if i < 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("the address %s can't be used, though it could be", have[i].IP)
		}
	}
}

func (c *Conn) makeNeighbours(n *Network) error {
	have, err := c.neighbours()
	if err != nil {
		return err
	}
	k := things[record.Neighbour]{key: neighbourKey, group: neighbourKey, add: c.addNeighbour, del: c.deleteNeighbour}
	return k.reconcile(n.Neighbours, have)
}

func (c *Conn) makeRoutes(n *Network) error {
	have, _, err := c.routes()
	if err != nil {
		return err
	}
	k := things[record.Route]{key: routeKey, group: routeGroup, add: c.addRoute, del: c.deleteRoute, help: c.reachGateways}
	return k.reconcile(n.Routes, have)
}

// reachGateways makes routes to the gateways of others, for as long as those are made: a route
// stays when that to its gateway is removed, but can't be made without.
func (c *Conn) reachGateways(failed []record.Route) (over func() error, err error) {
	var made []record.Route
	for i := range failed {
		for _, h := range failed[i].Hops {
			if h.Index == 0 || h.Gateway == "" {
				continue
			}
			r := record.Route{Family: int(familyOf(h.Gateway)), Dst: h.Gateway, DstPrefix: 8 * len(ipBytes(h.Gateway)), Table: unix.RT_TABLE_MAIN,
				Protocol: unix.RTPROT_STATIC, Scope: unix.RT_SCOPE_LINK, Type: unix.RTN_UNICAST, Priority: temporary, Hops: []record.Hop{{Index: h.Index}}}
			switch err := c.addRoute(&r); err {
			case nil:
				made = append(made, r)
			case unix.EEXIST:
			default:
				return nil, errors.Join(err, each(made, c.deleteRoute))
			}
		}
	}
	return func() error { return each(made, c.deleteRoute) }, nil
}

// temporary is the priority of a route that nobody else has.
const temporary = 1<<31 - 7

func (c *Conn) makeRules(n *Network) error {
	have, _, err := c.rules()
	if err != nil {
		return err
	}
	k := things[record.NetRule]{key: ruleKey, group: func(r *record.NetRule) string { return fmt.Sprint(r.Family, r.Priority) }, add: c.addRule, del: c.deleteRule}
	return k.reconcile(n.Rules, have)
}

// MoveOut moves the other ends of interfaces to the host, whose network namespace is that of
// host and fd, and gives each to its bridge there. When the namespace of c ends, so do they.
func (c *Conn) MoveOut(host *Conn, fd int, n *Network, d *Decisions) error {
	_, out := d.settle(n)
	for i, d := range out {
		if err := c.moveOut(host, fd, i, d); err != nil {
			return fmt.Errorf("connect interface %s to the bridge %s: %w", d.Link, d.Bridge, err)
		}
	}
	return nil
}

func (c *Conn) moveOut(host *Conn, fd, i int, d Decision) error {
	bridge, err := host.linkNamed(d.Bridge)
	if err != nil {
		return err
	}
	if err := c.move(host, fd, firstAway+i); err != nil {
		return err
	}
	inner, err := c.linkNamed(d.Link)
	if err != nil {
		return err
	}
	if !inner.away || inner.Kind != kindVeth {
		return errors.New("its other end has not been moved")
	}
	return host.do(unix.RTM_NEWLINK, 0, u32(newLink(inner.lower, unix.IFF_UP, unix.IFF_UP), unix.IFLA_MASTER, uint32(bridge.Index)))
}

// move moves an interface to the host, where it gets another number: the next that is free.
func (c *Conn) move(host *Conn, fd, index int) error {
	links, err := host.links()
	if err != nil {
		return err
	}
	next := 1
	for i := range links {
		if n := links[i].Index; n >= next && n < firstAway {
			next = n + 1
		}
	}
	for range maxTries {
		b := u32(netlink.Text(newLink(index, 0, 0), unix.IFLA_IFNAME, "veth%d"), unix.IFLA_NET_NS_FD, uint32(fd))
		err = c.do(unix.RTM_NEWLINK, 0, u32(b, unix.IFLA_NEW_IFINDEX, uint32(next)))
		if err != unix.EBUSY && err != unix.EEXIST { // somebody else has got it meanwhile
			return err
		}
		next++
	}
	return err
}

// linkNamed looks for an interface.
func (c *Conn) linkNamed(name string) (*link, error) {
	links, err := c.links()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(links, func(l link) bool { return l.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("there is no interface %s", name)
	}
	return &links[i], nil
}

// CheckHost says which bridges that were decided for are not there, in the calling thread's
// network namespace.
func (d *Decisions) CheckHost() error {
	if d == nil || !slices.ContainsFunc(d.list, func(one Decision) bool { return one.Bridge != "" }) {
		return nil
	}
	c, err := Dial()
	if err != nil {
		return err
	}
	var errs []error
	for _, one := range d.list {
		if one.Bridge == "" {
			continue
		}
		if l, err := c.linkNamed(one.Bridge); err != nil || l.Kind != kindBridge {
			errs = append(errs, fmt.Errorf("%s: this host has no bridge %s", one.flag, one.Bridge))
		}
	}
	return errors.Join(errors.Join(errs...), c.Close())
}
