// Package ends knows what leads out of a process tree: what such an end is
// called, and how the user says what takes its place.
package ends

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Action is what becomes of an end.
type Action int

// The actions.
const (
	File    Action = iota + 1 // another file, appended to if it is written
	Inherit                   // a descriptor of ckpt-apply
	Null                      // /dev/null
	// Close: nothing; the descriptor is closed. Of a socket that is named by where it
	// leads: it stays, as if the other side had closed its own.
	Close
	Connect // the same again: a socket is connected anew
	Keep    // it goes on: a TCP connection that was saved so
)

// Alternatives are all of them as the user types them.
const Alternatives = "file:PATH, inherit:FD, null, close, connect or keep"

// Decision is what the user decided for one end.
type Decision struct {
	Action Action
	Path   string // of File
	FD     int    // of Inherit
	Flag   string // the flag it came with, as it is typed
	// OfDescriptor: it is for a descriptor, and not for what that leads to.
	OfDescriptor bool
	used         bool
}

// Fd names a descriptor.
func Fd(pid, fd int) string { return fmt.Sprintf("pid %d fd %d", pid, fd) }

// Pipe names a pipe by its inode number.
func Pipe(ino uint64) string { return fmt.Sprintf("pipe:[%d]", ino) }

// Unix names a unix socket without an address by its inode number.
func Unix(ino uint64) string { return fmt.Sprintf("unix:[%d]", ino) }

// Unix0 is a pattern for all unix sockets that Unix names.
const Unix0 = "unix:[*]"

// UnixName names a unix socket by its address, see unix(7): a path, or a name that begins
// with a zero byte, for which @ stands, as in /proc/net/unix.
func UnixName(name []byte) string {
	return "unix:" + strings.ReplaceAll(string(name), "\x00", "@")
}

// TCP names the other end of a connection by its address.
func TCP(peer netip.AddrPort) string { return "tcp:" + peer.String() }

// Shm names shared memory by its inode number.
func Shm(ino uint64) string { return fmt.Sprintf("shm:[%d]", ino) }

// Flag is a flag that decides for an end, ready to be pasted into a shell.
func Flag(name, decision string) string { return "--end " + quote(name+"="+decision) }

func quote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// Decisions are all that the user decided.
type Decisions struct {
	named map[string]*Decision
	root  map[int]*Decision // descriptors of the first process
	like  []pattern         // for what leads out; the last that matches counts
	order []*Decision
	// mounts are for mount points.
	mounts map[string]*Decision
}

// splitMount splits mnt:POINT=PATH and mnt:POINT=close.
func splitMount(v string) (point string, how Decision, ok bool) {
	rest, ok := strings.CutPrefix(v, "mnt:")
	if !ok {
		return "", how, false
	}
	if point, ok = strings.CutSuffix(rest, "=close"); ok {
		return point, Decision{Action: Close}, true
	}
	point, path, ok := strings.Cut(rest, "=/")
	return point, Decision{Action: File, Path: "/" + path}, ok && strings.HasPrefix(point, "/")
}

// Mount returns what was decided for a mount point, or nil.
func (d *Decisions) Mount(point string) *Decision {
	if d == nil || d.mounts[point] == nil {
		return nil
	}
	d.mounts[point].used = true
	return d.mounts[point]
}

// pattern is a name in which * stands for anything.
type pattern struct {
	parts []string // between the asterisks
	how   *Decision
}

func (p *pattern) matches(name string) bool {
	last := len(p.parts) - 1
	rest, ok := strings.CutPrefix(name, p.parts[0])
	if !ok {
		return false
	}
	for _, part := range p.parts[1:last] {
		if _, rest, ok = strings.Cut(rest, part); !ok {
			return false
		}
	}
	return strings.HasSuffix(rest, p.parts[last])
}

// Parse takes values of --end, NAME=DECISION, and of --fd, N=DECISION.
func Parse(named, fds []string) (*Decisions, error) {
	d := &Decisions{named: map[string]*Decision{}, root: map[int]*Decision{}, mounts: map[string]*Decision{}}
	for _, v := range named {
		if point, what, ok := splitMount(v); ok {
			d.mounts[point] = &Decision{Action: what.Action, Path: what.Path, Flag: "--end " + quote(v)}
			d.order = append(d.order, d.mounts[point])
			continue
		}
		name, how := split(v)
		if how == nil || !isName(name) {
			return nil, fmt.Errorf("--end %s: it takes NAME=DECISION, a name such as 'pid 7 fd 3', 'pipe:[4711]', 'unix:[4711]', 'unix:/run/x.sock', 'unix:*', 'tcp:10.0.0.5:5432' or a path, and %s", quote(v), Alternatives)
		}
		how.Flag, how.OfDescriptor = "--end "+quote(v), strings.HasPrefix(name, "pid ")
		d.order = append(d.order, how)
		if strings.Contains(name, "*") && !strings.HasPrefix(name, "/") {
			d.like = append(d.like, pattern{strings.Split(name, "*"), how})
			continue
		}
		d.named[name] = how
	}
	for _, v := range fds {
		name, how := split(v)
		n, err := strconv.Atoi(name)
		if how == nil || err != nil || n < 0 {
			return nil, fmt.Errorf("--fd %s: it takes the number of a descriptor, = and %s", quote(v), Alternatives)
		}
		how.Flag, how.OfDescriptor = "--fd "+quote(v), true
		d.root[n] = how
		d.order = append(d.order, how)
	}
	return d, nil
}

// split cuts at the first = that is followed by a decision: a path may have some.
func split(v string) (string, *Decision) {
	for i := range v {
		if v[i] == '=' {
			if how := parse(v[i+1:]); how != nil {
				return v[:i], how
			}
		}
	}
	return "", nil
}

func parse(how string) *Decision {
	word, arg, hasArg := strings.Cut(how, ":")
	switch {
	case how == "null":
		return &Decision{Action: Null}
	case how == "close":
		return &Decision{Action: Close}
	case how == "connect":
		return &Decision{Action: Connect}
	case how == "keep":
		return &Decision{Action: Keep}
	case word == "file" && arg != "" && !strings.Contains(arg, "\x00"):
		return &Decision{Action: File, Path: arg}
	case word == "inherit" && hasArg:
		if n, err := strconv.Atoi(arg); err == nil && n >= 0 {
			return &Decision{Action: Inherit, FD: n}
		}
	}
	return nil
}

// ParseCopies takes values of ckpt-collect's --end: the names of shared memory,
// shm:[4711], each with =copy.
func ParseCopies(values []string) (map[string]bool, error) {
	names := map[string]bool{}
	for _, v := range values {
		name, how, _ := strings.Cut(v, "=")
		if inner, ok := strings.CutPrefix(name, "shm:["); !ok || how != "copy" || !isInode(inner) {
			return nil, fmt.Errorf("--end %s: it takes 'shm:[4711]=copy', with the number a refusal named", quote(v))
		}
		names[name] = true
	}
	return names, nil
}

// isInode reports whether s is the rest of a name: a number and a bracket.
func isInode(s string) bool {
	_, err := strconv.ParseUint(strings.TrimSuffix(s, "]"), 10, 64)
	return err == nil && strings.HasSuffix(s, "]")
}

func isName(s string) bool {
	var a, b int
	if n, _ := fmt.Sscanf(s, "pid %d fd %d", &a, &b); n == 2 {
		return s == Fd(a, b)
	}
	for _, prefix := range []string{"pipe:[", "unix:["} {
		if inner, ok := strings.CutPrefix(s, prefix); ok {
			return isInode(inner) || inner == "*]"
		}
	}
	if addr, ok := strings.CutPrefix(s, "tcp:"); ok {
		_, err := netip.ParseAddrPort(addr)
		return err == nil || strings.Contains(addr, "*")
	}
	return strings.HasPrefix(s, "/") || s == "pipe:*" || strings.HasPrefix(s, "unix:") && s != "unix:"
}

// Find returns what was decided for a descriptor, or nil. Its own name goes before
// the name of what it has open, and that before a pattern, which is only for what leads
// out.
func (d *Decisions) Find(root, pid, fd int, name string, out bool) *Decision {
	if d == nil {
		return nil
	}
	found := d.named[Fd(pid, fd)]
	if r := d.root[fd]; pid == root && r != nil {
		r.used = true
		if found == nil {
			found = r
		}
	}
	if n := d.named[name]; n != nil && name != "" {
		n.used = true
		if found == nil {
			found = n
		}
	}
	for i := len(d.like) - 1; i >= 0 && out; i-- {
		if p := &d.like[i]; p.matches(name) {
			p.how.used = true
			if found == nil {
				found = p.how
			}
		}
	}
	if found != nil {
		found.used = true
	}
	return found
}

// Unused returns an error for each decision that applied to nothing.
func (d *Decisions) Unused() (errs []error) {
	if d == nil {
		return nil
	}
	for _, how := range d.order {
		if !how.used {
			errs = append(errs, fmt.Errorf("%s: no descriptor in the image has that name or leads there", how.Flag))
		}
	}
	return errs
}

// Undecided is an error about an end that nothing was decided for. All of them
// together give one hint.
type Undecided struct {
	Name   string
	How    string // the decision that is proposed; "": null
	All    string // a pattern for all of its kind, for which that is proposed if there are several
	Reason string
	hint   string
}

func (u *Undecided) Error() string { return u.Reason }

// Hint has the flags that would decide for all ends, with the last of them.
func (u *Undecided) Hint() string { return u.hint }

// Join returns the errors, of which the last tells the flags for all.
func Join(list []*Undecided) (errs []error) {
	var flags []string
	seen, kinds := map[string]bool{}, map[string]int{}
	for _, u := range list {
		kinds[u.All]++
	}
	for _, u := range list {
		errs = append(errs, u)
		flag := Proposal(u.Name, u.How)
		if u.All != "" && kinds[u.All] > 1 {
			flag = Proposal(u.All, u.How)
		}
		if !seen[flag] {
			seen[flag] = true
			flags = append(flags, flag)
		}
	}
	if len(list) > 0 {
		list[len(list)-1].hint = fmt.Sprintf("restore it with: %s; %s", strings.Join(flags, " "), instead(list))
	}
	return errs
}

// instead says what can stand in place of what is proposed.
func instead(list []*Undecided) string {
	for _, u := range list {
		if u.How != list[0].How {
			return "file:PATH, inherit:FD, null or close can stand in place of what is proposed"
		}
	}
	return strings.Replace(Others(list[0].How), " in place", " can stand in place", 1)
}

// Proposal is a flag that decides for an end as is proposed: how, or null if that is
// empty.
func Proposal(name, how string) string {
	if how == "" {
		how = "null"
	}
	return Flag(name, how)
}

// Others says what else can be decided, for a message that proposes how.
func Others(how string) string {
	switch how {
	case "connect":
		return "close, file:PATH, inherit:FD or null in place of connect"
	case "close":
		return "file:PATH, inherit:FD or null in place of close"
	}
	return "file:PATH, inherit:FD or close in place of null"
}
