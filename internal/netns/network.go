// Package netns describes a network namespace, by rtnetlink(7) and sysctl(2), and makes it
// again in a new one.
//
// What is described are typed fields, not the kernel's messages: those who edit a stream can
// read them, and only what is known is sent. What is made is compared with what is there, step
// by step, because the kernel makes much by itself: addresses of a loopback interface, routes
// for each address. So what is not wanted is deleted, and what is missing is made.
//
// Streams come from anybody. All that changes anything goes through a Conn by DialNew, which
// compares the inode number of the namespace of its socket with those that must not be
// changed.
package netns

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/stream/record"
)

// Network is all that is in a network namespace.
type Network struct {
	Links      []record.Link
	Addresses  []record.NetAddress
	Routes     []record.Route
	Rules      []record.NetRule
	Neighbours []record.Neighbour
	Sysctls    []record.NetSysctls
}

// Read describes the calling thread's network namespace. blockers say what in it can't be saved.
func Read() (n *Network, blockers []error, err error) {
	c, err := Dial()
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	n = new(Network)
	blockers, err = n.read(c)
	if err != nil {
		return nil, nil, err
	}
	rest, err := c.others()
	return n, append(blockers, rest...), err
}

func (n *Network) read(c *Conn) (blockers []error, err error) {
	if blockers, err = n.readLinks(c); err != nil {
		return nil, fmt.Errorf("list network interfaces: %w", err)
	}
	if n.Addresses, err = c.addresses(); err != nil {
		return nil, fmt.Errorf("list addresses of network interfaces: %w", err)
	}
	var odd []error
	if n.Routes, odd, err = c.routes(); err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	blockers = append(blockers, odd...)
	if n.Rules, odd, err = c.rules(); err != nil {
		return nil, fmt.Errorf("list rules for routes: %w", err)
	}
	blockers = append(blockers, odd...)
	if n.Neighbours, err = c.neighbours(); err != nil {
		return nil, fmt.Errorf("list neighbours: %w", err)
	}
	if n.Sysctls, err = sysctls(); err != nil {
		return nil, fmt.Errorf("read network settings: %w", err)
	}
	n.leaveOut()
	return blockers, nil
}

func (n *Network) readLinks(c *Conn) (blockers []error, err error) {
	links, err := c.links()
	if err != nil {
		return nil, err
	}
	byIndex := map[int]*link{}
	for i := range links {
		byIndex[links[i].Index] = &links[i]
	}
	for i := range links {
		l := &links[i]
		if l.given() && l.Kind != kindLoopback && l.Flags&unix.IFF_UP == 0 {
			continue
		}
		l.Outside = !l.canBeMade(byIndex)
		switch {
		case l.Outside:
			l.Master, l.Settings = masterOf(l, byIndex), outsideSettings(l)
		case l.Kind == kindVeth:
			l.Peer = l.lower
		}
		blockers = append(blockers, l.blockers(byIndex)...)
		n.Links = append(n.Links, l.Link)
	}
	return blockers, nil
}

// masterOf is the bridge that an interface is a port of, 0 if it is none of a bridge.
func masterOf(l *link, all map[int]*link) int {
	if m := all[l.Master]; m != nil && m.Kind == kindBridge {
		return l.Master
	}
	return 0
}

// outsideSettings are those of an interface that another kind of interface takes the place of.
func outsideSettings(l *link) (keep []record.LinkSetting) {
	for _, s := range l.Settings {
		for _, k := range linkSettings[:3] { // the others depend on the kind
			if k.name == s.Name {
				keep = append(keep, s)
			}
		}
		if s.Name == genMode {
			keep = append(keep, s)
		}
	}
	return keep
}

// blockers says what of an interface can't be saved.
func (l *link) blockers(all map[int]*link) (errs []error) {
	if l.Kind == kindLoopback && l.Name != "lo" {
		errs = append(errs, fmt.Errorf("%s, which is the loopback interface by another name", l.name()))
	}
	if l.xdp {
		errs = append(errs, fmt.Errorf("%s with a program of XDP", l.name()))
	}
	if l.filter {
		errs = append(errs, fmt.Errorf("%s, a bridge that tells VLANs apart", l.name()))
	}
	if m := all[l.Master]; l.Master != 0 && (m == nil || m.Kind != kindBridge) {
		errs = append(errs, fmt.Errorf("%s, which is part of one that is no bridge", l.name()))
	}
	return errs
}

// leaveOut leaves out what belongs to interfaces that are not there.
func (n *Network) leaveOut() {
	there, names := map[int]bool{0: true}, map[string]bool{"": true}
	for i := range n.Links {
		there[n.Links[i].Index], names[n.Links[i].Name] = true, true
	}
	n.Addresses = kept(n.Addresses, func(a *record.NetAddress) bool { return there[a.Index] })
	n.Neighbours = kept(n.Neighbours, func(e *record.Neighbour) bool { return there[e.Index] })
	n.Routes = kept(n.Routes, func(r *record.Route) bool {
		return !slices.ContainsFunc(r.Hops, func(h record.Hop) bool { return !there[h.Index] })
	})
	n.Sysctls = kept(n.Sysctls, func(s *record.NetSysctls) bool { return names[device(s.Folder)] })
}

func kept[T any](all []T, keep func(*T) bool) (some []T) {
	for i := range all {
		if keep(&all[i]) {
			some = append(some, all[i])
		}
	}
	return some
}

// Records returns all as records that are part of a NAMESPACE.
func (n *Network) Records(of uint64, emit func(t record.Type, meta any) error) error {
	refs := record.PartOf{Of: of}
	return errors.Join(
		each(n.Links, func(l *record.Link) error { l.Refs = refs; return emit(record.TypeLink, l) }),
		each(n.Addresses, func(a *record.NetAddress) error { a.Refs = refs; return emit(record.TypeNetAddress, a) }),
		each(n.Routes, func(r *record.Route) error { r.Refs = refs; return emit(record.TypeRoute, r) }),
		each(n.Rules, func(r *record.NetRule) error { r.Refs = refs; return emit(record.TypeNetRule, r) }),
		each(n.Neighbours, func(e *record.Neighbour) error { e.Refs = refs; return emit(record.TypeNeighbour, e) }),
		each(n.Sysctls, func(s *record.NetSysctls) error { s.Refs = refs; return emit(record.TypeNetSysctls, s) }))
}

func each[T any](all []T, do func(*T) error) error {
	for i := range all {
		if err := do(&all[i]); err != nil {
			return err
		}
	}
	return nil
}
