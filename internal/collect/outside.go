package collect

import (
	"fmt"
	"iter"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"ckpt/internal/cli"
	"ckpt/internal/ends"
	"ckpt/internal/parallel"
	"ckpt/internal/proc"
)

// The time spent on looking at other processes is bounded, because there may be a hundred
// thousand: shareLimit if the tree has memory that somebody may share, nameLimit if only
// names are wanted.
const (
	shareLimit = 2 * time.Second
	nameLimit  = 200 * time.Millisecond
)

// outsiders is what processes outside the tree had open or mapped shortly before the tree
// was stopped. All ids in it are those of proc.Usual: the target may be in another pid
// namespace, outside of which others share with it.
type outsiders struct {
	root   int
	own    map[int]bool // ckpt-collect
	tree   map[int]bool
	links  map[string]bool    // pipes and sockets that the tree has open
	peers  bool               // it has sockets: the other end of one has another link
	open   map[string][]int   // of those links, and of all sockets if it has any, who has it open
	mapped map[sharedFile]int // shared memory of the tree: one process that has it mapped
	wanted map[sharedFile]bool
	seen   map[int]bool // processes that were looked at
	guard  int          // of kept connections, which is ours; 0: none
}

// sharedFile is the identity of a file that is mapped.
type sharedFile struct{ dev, ino uint64 }

// isLostAlone reports whether a mapping shares memory that no path leads to, so that a
// restored process would no longer share it. System V segments don't count: they are
// found by their id.
func isLostAlone(m *proc.Mapping) bool {
	return m.Shared && m.Inode != 0 && !strings.HasPrefix(m.Path, "/SYSV") &&
		(strings.HasSuffix(m.Path, " (deleted)") || strings.HasPrefix(m.Path, "[anon_shmem:"))
}

// lookOutside looks around while the target still runs.
func lookOutside(ids *ids) *outsiders {
	o := &outsiders{root: ids.usual(ids.root), own: ids.own, tree: map[int]bool{}, links: map[string]bool{}, open: map[string][]int{},
		mapped: map[sharedFile]int{}, wanted: map[sharedFile]bool{}, seen: map[int]bool{}}
	o.addTree(o.root)
	for pid := range o.tree {
		list, _ := readMaps(pid)
		o.want(list)
		for _, link := range linksOf(pid) {
			o.links[link] = true
			o.peers = o.peers || isSocket(link)
		}
	}
	if len(o.links)+len(o.wanted) > 0 {
		o.lookAround()
	}
	return o
}

func isSocket(link string) bool { return strings.HasPrefix(link, "socket:[") }

// linksOf returns the pipes and sockets of a process, as its links in proc(5) name them:
// none of one that we may not look at, or that has ended.
func linksOf(pid int) []string {
	pid, fds := descriptors(pid)
	links := make([]string, len(fds))
	_ = parallel.Each(len(fds), func(i int) error {
		if link, err := proc.Usual.FDLink(pid, fds[i]); err == nil && (strings.HasPrefix(link, "pipe:[") || isSocket(link)) {
			links[i] = link
		}
		return nil
	})
	return slices.DeleteFunc(links, func(link string) bool { return link == "" })
}

// readMaps reads the mappings of a process, whose first thread may have ended.
func readMaps(pid int) ([]proc.Mapping, error) {
	list, err := proc.Usual.ReadMaps(pid)
	if err == nil && len(list) == 0 {
		return proc.Usual.ReadMaps(proc.Usual.Living(pid))
	}
	return list, err
}

// descriptors lists those of a process, and the id by which /proc shows them.
func descriptors(pid int) (at int, fds []int) {
	at = pid
	if fds, _ = proc.Usual.FDs(pid); len(fds) == 0 {
		at = proc.Usual.Living(pid)
		fds, _ = proc.Usual.FDs(at)
	}
	return at, fds
}

// hasOpen reports whether a process has a link open.
func hasOpen(pid int, link string) bool {
	pid, fds := descriptors(pid)
	return slices.ContainsFunc(fds, func(fd int) bool {
		has, err := proc.Usual.FDLink(pid, fd)
		return err == nil && has == link
	})
}

// lookAround looks at those that were not looked at yet.
func (o *outsiders) lookAround() {
	limit := nameLimit
	if len(o.wanted) > 0 {
		limit = shareLimit
	}
	until := time.Now().Add(limit)
	for pid := range o.candidates() {
		if time.Now().After(until) {
			break
		}
		if !o.tree[pid] && !o.seen[pid] && !o.own[pid] && pid != o.guard {
			o.seen[pid] = true
			o.look(pid)
		}
	}
}

// lookAgain looks for processes that share memory with the tree by now: only at new ones,
// unless the tree itself has new memory.
func (o *outsiders) lookAgain(maps [][]proc.Mapping) {
	known := len(o.wanted)
	for _, list := range maps {
		o.want(list)
	}
	if len(o.wanted) > known {
		clear(o.seen)
	}
	if len(o.wanted) > 0 {
		o.lookAround()
	}
}

// candidates yields all processes, some twice: first the ancestors and their
// children, for what is shared was mostly inherited.
func (o *outsiders) candidates() iter.Seq[int] {
	return func(yield func(int) bool) {
		for stat, err := proc.Usual.ReadStat(o.root); err == nil && stat.PPID > 0; stat, err = proc.Usual.ReadStat(stat.PPID) {
			children, _ := proc.Usual.Children(stat.PPID)
			for _, pid := range append([]int{stat.PPID}, children...) {
				if !yield(pid) {
					return
				}
			}
		}
		all, _ := proc.Usual.Processes()
		for _, pid := range slices.Backward(all) {
			if !yield(pid) {
				return
			}
		}
	}
}

func (o *outsiders) addTree(pid int) {
	if o.tree[pid] {
		return
	}
	o.tree[pid] = true
	children, _ := proc.Usual.Children(pid) // none if it has ended by now
	for _, child := range children {
		o.addTree(child)
	}
}

// want notes the shared memory among mappings.
func (o *outsiders) want(list []proc.Mapping) {
	for i := range list {
		if isLostAlone(&list[i]) {
			o.wanted[sharedFile{list[i].Dev, list[i].Inode}] = true
		}
	}
}

// look notes what another process has in common with the tree.
func (o *outsiders) look(pid int) {
	if len(o.links) > 0 {
		for _, link := range linksOf(pid) {
			if (o.links[link] || o.peers && isSocket(link)) && !slices.Contains(o.open[link], pid) {
				o.open[link] = append(o.open[link], pid)
			}
		}
	}
	if len(o.wanted) == 0 {
		return
	}
	list, _ := readMaps(pid)
	for i := range list {
		if key := (sharedFile{list[i].Dev, list[i].Inode}); o.wanted[key] && o.mapped[key] == 0 {
			o.mapped[key] = pid
		}
	}
}

// settle takes the processes that stand still as the tree, which may have changed
// since it was looked at.
func (o *outsiders) settle(procs []*process, ids *ids) {
	clear(o.tree)
	for _, p := range procs {
		o.tree[ids.usual(p.pid)] = true
	}
}

func (o *outsiders) inTree(pid int) bool { return o.tree[pid] }

// stillOpen returns a process outside of the tree that has a link open, 0 for
// none. Who had it when the tree still ran may have ended since, or be of the tree.
func (o *outsiders) stillOpen(link string) int {
	for _, pid := range o.open[link] {
		if !o.tree[pid] && hasOpen(pid, link) {
			return pid
		}
	}
	return 0
}

// name names a process that has a pipe or socket open, or returns "".
func (o *outsiders) name(kind string, ino uint64) string {
	pid := o.stillOpen(fmt.Sprintf("%s:[%d]", kind, ino))
	if pid == 0 {
		return ""
	}
	return proc.Usual.Named(pid)
}

// sharedMemory blocks memory that the tree shares with others, unless the user wants a
// copy of it.
func (c *collection) sharedMemory() {
	d, told := c.description, map[sharedFile]bool{}
	var all [][]proc.Mapping
	for _, p := range d.tree.procs {
		all = append(all, d.about[p].maps)
	}
	c.outsiders.guard = d.files.GuardPID()
	c.outsiders.lookAgain(all)
	for _, p := range d.tree.procs {
		list := d.about[p].maps
		for i := range list {
			m := &list[i]
			key := sharedFile{m.Dev, m.Inode}
			if !isLostAlone(m) || told[key] {
				continue
			}
			told[key] = true
			c.judgeShared(p.pid, m, c.stillMapped(key))
		}
	}
}

// stillMapped returns a process outside the tree that has shared memory mapped, 0 for
// none. The one that had it before the tree was stopped may have ended, or be part of the
// tree; then all processes are looked at again.
func (c *collection) stillMapped(key sharedFile) int {
	outside := func(pid int) bool {
		if c.outsiders.tree[pid] {
			return false
		}
		list, _ := readMaps(pid)
		return slices.ContainsFunc(list, func(m proc.Mapping) bool { return sharedFile{m.Dev, m.Inode} == key })
	}
	first := c.outsiders.mapped[key]
	if first == 0 || outside(first) {
		return first
	}
	all, _ := os.ReadDir("/proc")
	for _, e := range all {
		if pid, err := strconv.Atoi(e.Name()); err == nil && outside(pid) {
			return pid
		}
	}
	return 0
}

func (c *collection) judgeShared(pid int, m *proc.Mapping, other int) {
	name := ends.Shm(m.Inode)
	if other == 0 || c.outsiders.tree[other] {
		return
	}
	if c.Copy[name] {
		c.tell("%s, which %s shares with %s, becomes a copy of its own", name, proc.Named(pid), proc.Usual.Named(other))
		return
	}
	err := fmt.Errorf("shares memory at %x (%s) with %s, which is not being saved, and would no longer share it", m.Start, name, proc.Usual.Named(other))
	c.description.blockers.add(pid, cli.WithHint(err, fmt.Sprintf("save %s with it, or let it have a copy: ckpt-collect %s", proc.Usual.Named(other), ends.Flag(name, "copy"))))
}

// maxEnds is how many ends are named one by one.
const maxEnds = 50

// tell keeps a note until the tree runs again, because the tree itself may be what reads
// our messages.
func (c *collection) tell(format string, args ...any) {
	c.notes = append(c.notes, fmt.Sprintf(format, args...))
}

// nameEnds tells the user what leads out of the tree, and with which flags it can be
// restored.
func (c *collection) nameEnds() {
	d := c.description
	for i, end := range d.files.Outside {
		if i == maxEnds {
			c.tell("and %d more; ckpt-apply --check names them all", len(d.files.Outside)-i)
			break
		}
		flag := ends.Proposal(end.Name, end.Propose)
		if end.What == "" {
			c.tell("%s fd %d is the terminal %s, which becomes that of ckpt-apply; if that has none, restore it with: %s, or file:PATH, inherit:FD or close in place of null", proc.Named(end.PID), end.FD, end.Name, flag)
			continue
		}
		kind := "pipe"
		if strings.HasPrefix(end.Name, "unix:") {
			kind = "socket"
		}
		who := c.outsiders.name(kind, end.Ino)
		if who != "" {
			who = ", with " + who
		}
		if end.Default {
			c.tell("%s fd %d leads to %s, %s%s; it is connected again, unless another decision is made: %s", proc.Named(end.PID), end.FD, end.Name, end.What, who, ends.Flag(end.Name, "close"))
			continue
		}
		c.tell("%s fd %d leads to %s, %s%s; restore it with: %s, or %s", proc.Named(end.PID), end.FD, end.Name, end.What, who, flag, ends.Others(end.Propose))
	}
	for i, b := range d.files.Barred {
		if i == maxEnds {
			c.tell("and %d more; ckpt-apply --check names them all", len(d.files.Barred)-i)
			break
		}
		c.tell("%s fd %d is %s, which this user may not open again; restore it as a user who may, or with: %s, or file:PATH, inherit:FD or close in place of null",
			proc.Named(b.PID), b.FD, b.Path, ends.Flag(b.Path, "null"))
	}
	for i, w := range d.files.Watched {
		if i == maxEnds {
			c.tell("and %d more pidfds of processes that are not saved", len(d.files.Watched)-i)
			break
		}
		c.tell("%s fd %d is a pidfd of %s, which is not saved; if that has ended at the restore, the program sees that it has", proc.Named(w.PID), w.FD, proc.Named(w.Other))
	}
	c.nameConnections()
	for i, l := range d.files.Lost {
		if i == maxEnds {
			c.tell("and %d more descriptors with something that will be lost", len(d.files.Lost)-i)
			break
		}
		c.tell("%s fd %d %s", proc.Named(l.PID), l.FD, l.What)
	}
	c.nameGuests()
}

// nameConnections tells of TCP connections that lead out of the tree, those of each
// process together, for there may be thousands.
func (c *collection) nameConnections() {
	names, kept := map[int][]string{}, map[int][]string{}
	for _, end := range c.description.files.Connections {
		if end.Kept {
			kept[end.PID] = append(kept[end.PID], end.Name)
		} else {
			names[end.PID] = append(names[end.PID], end.Name)
		}
	}
	c.tellConnections(names, func(first, it, is string) string {
		return fmt.Sprintf("restored, %s %s reset by the other side, unless something else takes the place: %s, or file:PATH, inherit:FD or connect in place of null", it, is, ends.Flag(first, "null"))
	})
	c.tellConnections(kept, func(first, it, is string) string {
		if c.Leave != LeaveKilled {
			return fmt.Sprintf("%s %s saved as %s %s now; restored, %s %s reset by the other side, or, if nothing was sent since, %s can go on: %s", it, is, it, is, it, is, it, ends.Flag(first, "keep"))
		}
		return fmt.Sprintf("%s %s kept", it, is)
	})
}

// tellConnections tells what becomes of the connections of each process.
func (c *collection) tellConnections(names map[int][]string, what func(first, it, is string) string) {
	const most = 3
	for _, pid := range slices.Sorted(maps.Keys(names)) {
		list, more, first := names[pid], "", names[pid][0]
		connections, it, is := "a connection", "it", "is"
		if len(list) > 1 {
			connections, it, is = fmt.Sprintf("%d connections", len(list)), "they", "are"
		}
		if len(list) > most {
			list, more = list[:most], fmt.Sprintf(" and %d more", len(list)-most)
		}
		c.tell("%s has %s to programs outside, %s%s; %s", proc.Named(pid), connections, strings.Join(list, ", "), more, what(first, it, is))
	}
}

// nameGuests names processes outside that have pipes or sockets open of which the tree
// has both ends: the restored tree gets its own.
func (c *collection) nameGuests() {
	inner := map[string]int{} // links, and a process of the tree that has each
	for _, p := range c.tree.procs {
		for _, s := range c.description.about[p].subjects {
			if inner[s.Target] == 0 {
				inner[s.Target] = p.pid
			}
		}
	}
	for _, end := range c.description.files.Outside {
		delete(inner, end.Name)
		delete(inner, strings.Replace(end.Name, "unix:", "socket:", 1))
	}
	told := 0
	for _, link := range slices.Sorted(maps.Keys(inner)) {
		if told == maxEnds {
			return
		}
		if pid := c.outsiders.stillOpen(link); pid != 0 {
			c.tell("%s has %s open, and so has %s; the restored tree gets one of its own", proc.Usual.Named(pid), link, proc.Named(inner[link]))
			told++
		}
	}
}
