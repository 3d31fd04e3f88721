package netns

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/stream/record"
)

// Decisions say what takes the place of interfaces that lead out of a namespace.
type Decisions struct{ list []Decision }

// Decision is one of them.
type Decision struct {
	Link   string
	Bridge string // it becomes one end of a veth, and this bridge gets the other; "": it is left out
	flag   string
}

// Parse takes values of --net: veth:NAME=BRIDGE or NAME=none.
func Parse(values []string) (*Decisions, error) {
	d := new(Decisions)
	for _, v := range values {
		name, how, ok := strings.Cut(v, "=")
		bridged, veth := strings.CutPrefix(name, "veth:")
		one := Decision{Link: name, flag: "--net " + quote(v)}
		if veth {
			one.Link, one.Bridge = bridged, how
		}
		if !ok || !isName(one.Link) || veth != (how != "none") || veth && !isName(how) {
			return nil, fmt.Errorf("--net %s: it takes veth:NAME=BRIDGE or NAME=none, with the name of an interface in the image and that of a bridge here", quote(v))
		}
		if d.Of(one.Link) != nil {
			return nil, fmt.Errorf("--net %s: interface %s is decided twice", quote(v), one.Link)
		}
		d.list = append(d.list, one)
	}
	return d, nil
}

// Of returns what was decided for an interface, or nil.
func (d *Decisions) Of(link string) *Decision {
	if d == nil {
		return nil
	}
	i := slices.IndexFunc(d.list, func(one Decision) bool { return one.Link == link })
	if i < 0 {
		return nil
	}
	return &d.list[i]
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// undecided is an interface that leads out and for which nothing was decided.
type undecided struct{ text, hint string }

func (u *undecided) Error() string { return u.text }
func (u *undecided) Hint() string  { return u.hint }

// Check says which interfaces wait for a decision, and which decisions are for none. n is nil
// if the tree has no network namespace of its own.
func (d *Decisions) Check(n *Network) (errs []error) {
	var flags []string
	outside := map[string]bool{}
	if n != nil {
		for i := range n.Links {
			l := &n.Links[i]
			if !l.Outside {
				continue
			}
			outside[l.Name] = true
			if d.Of(l.Name) == nil {
				flags = append(flags, "--net "+quote(l.Name+"=none"))
				errs = append(errs, &undecided{text: fmt.Sprintf("interface %s (%s) of the network namespace leads out of it, and nothing is decided about it", l.Name, kindText(l))})
			}
		}
	}
	if len(errs) > 0 {
		errs[len(errs)-1].(*undecided).hint = fmt.Sprintf("restore it with: %s, which leaves it out; veth:NAME=BRIDGE in place of NAME=none makes an interface that a bridge of this host has the other end of", strings.Join(flags, " "))
	}
	if d == nil {
		return errs
	}
	for _, one := range d.list {
		if !outside[one.Link] {
			errs = append(errs, fmt.Errorf("%s: no interface in the image has that name and leads out of its network namespace", one.flag))
		}
	}
	return errs
}

func kindText(l *record.Link) string {
	switch l.Kind {
	case "":
		return "a device"
	case kindVeth:
		return "a veth whose other end is elsewhere"
	}
	return "of kind " + l.Kind
}

// The other ends of veths have these names and numbers until they are moved to the host.
const (
	away      = "ckpt-away"
	firstAway = 1 << 30
)

// settle returns the network with what was decided for interfaces that lead out, and what is
// to be moved to the host.
func (d *Decisions) settle(n *Network) (*Network, []Decision) {
	s, out := *n, []Decision(nil)
	s.Links = nil
	for i := range n.Links {
		l := n.Links[i]
		if l.Outside {
			how := d.Of(l.Name)
			if how == nil || how.Bridge == "" {
				continue
			}
			l.Kind, l.Peer = kindVeth, firstAway+len(out)
			end := record.Link{Index: l.Peer, Name: fmt.Sprint(away, len(out)), Kind: kindVeth, Peer: l.Index, Flags: unix.IFF_UP | unix.IFF_MULTICAST}
			if mtu, ok := value(&l, "mtu"); ok {
				end.Settings = []record.LinkSetting{{Name: "mtu", Value: mtu}}
			}
			s.Links = append(s.Links, end)
			out = append(out, *how)
		}
		s.Links = append(s.Links, l)
	}
	s.leaveOut()
	return &s, out
}
