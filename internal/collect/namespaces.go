package collect

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/files"
	"ckpt/internal/mounts"
	"ckpt/internal/netns"
	"ckpt/internal/proc"
	"ckpt/stream/record"
)

// namespaceWords maps kinds of namespaces to what people call them.
var namespaceWords = map[string]string{"mnt": "mount", "uts": "host name", "ipc": "IPC", "net": "network"}

var namespaceKinds = [...]string{"user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"}

func namespaceWord(kind string) string {
	if word := namespaceWords[kind]; word != "" {
		return word
	}
	return kind
}

var ownNamespaces = sync.OnceValues(func() (map[string]uint64, error) { return proc.Namespaces(ownPID(), ownPID()) })

// namespaces blocks a process in other namespaces than ours: paths and ids in the image
// would not mean the same where it is restored. A thread can be in other namespaces than
// its process, and its children in others than itself.
func (d *description) namespaces(p *process) error {
	own, err := ownNamespaces()
	if err != nil {
		return err
	}
	for i, t := range p.threads {
		its := d.facts[t.TID].Namespaces
		if i == 0 {
			d.otherNamespaces(p, own, its)
			own = its
		} else if kinds := differing(own, its); len(kinds) > 0 {
			d.blockers.add(p.pid, fmt.Errorf("has a thread, %d (%s), in another %s namespace than its first, which can't be saved",
				t.TID, commOf(p.pid, t.TID), strings.Join(kinds, " and ")))
		}
		d.namespacesOfChildren(p, t.TID, its)
	}
	return nil
}

// otherNamespaces blocks a process whose first thread is in other namespaces than ours. A
// time namespace of the tree's own is allowed: it is saved with the clocks.
func (d *description) otherNamespaces(p *process, own, its map[string]uint64) {
	own = maps.Clone(own)
	if p == d.tree.root() {
		d.timeNamespace = its["time"]
	}
	if own["time"] = d.timeNamespace; its["time"] != own["time"] {
		d.blockers.add(p.pid, fmt.Errorf("is in another time namespace than pid %d, which can't be saved", d.tree.root().pid))
		own["time"] = its["time"]
	}
	if p == d.tree.root() && its["mnt"] != own["mnt"] {
		d.mountNamespace = its["mnt"]
	}
	if d.mountNamespace != 0 {
		if its["mnt"] != d.mountNamespace {
			d.blockers.add(p.pid, d.initHint(p, fmt.Errorf("is in another mount namespace than %s, which can't be saved", proc.Named(d.tree.root().pid))))
			d.elsewhere = true
		}
		own["mnt"] = its["mnt"]
	}
	if d.own.cgroup { // we do not enter it
		root := d.facts[d.tree.root().pid].Namespaces["cgroup"]
		if own["cgroup"] = root; its["cgroup"] != root {
			d.blockers.add(p.pid, fmt.Errorf("is in another cgroup namespace than pid %d, which can't be saved", d.tree.root().pid))
			own["cgroup"] = its["cgroup"]
		}
	}
	for _, kind := range differing(own, its) {
		d.blockers.add(p.pid, d.initHint(p, fmt.Errorf("is in another %s namespace than ckpt-collect, which can't be saved", kind)))
		d.elsewhere = d.elsewhere || kind == namespaceWord("mnt")
	}
}

// initHint says, of the init of a pid namespace below ours, what can be saved.
func (d *description) initHint(p *process, reason error) error {
	if ids := d.about[p].status.NSpid; len(ids) < 2 || ids[len(ids)-1] != 1 || p == d.tree.root() || proc.Apart() {
		return reason
	}
	return cli.WithHint(reason, fmt.Sprintf("it is the init of a pid namespace: save that, with all that descends from it: ckpt-collect %d", p.pid))
}

// ownNamespaces describes the namespaces that are the tree's own.
func (d *description) ownNamespaces() error {
	if err := d.ownMounts(); err != nil || !proc.Apart() {
		return err
	}
	if d.namespaceRefs == nil {
		d.namespaceRefs = new(record.NamespaceRefs)
	}
	d.namespaceRefs.PID = d.newID()
	err := d.ownNamespace(&record.Namespace{Object: record.Object{ID: d.namespaceRefs.PID}, Kind: record.NamespacePID})
	return errors.Join(err, d.ownUTS(), d.ownIPC(), d.ownCgroup(), d.ownNetwork())
}

func (d *description) ownUTS() error {
	if !d.own.uts {
		return nil
	}
	var name unix.Utsname // of this process, which is in there, too
	if err := unix.Uname(&name); err != nil {
		return os.NewSyscallError("uname", err)
	}
	d.namespaceRefs.UTS = d.newID()
	return d.ownNamespace(&record.Namespace{Object: record.Object{ID: d.namespaceRefs.UTS}, Kind: record.NamespaceUTS,
		Host: upToNUL(name.Nodename[:]), Domain: upToNUL(name.Domainname[:])})
}

// ownNetwork describes the tree's network namespace, in which this process is, too.
func (d *description) ownNetwork() error {
	if !d.own.net {
		return nil
	}
	root := d.tree.root()
	network, blockers, err := netns.Read()
	if err != nil {
		return fmt.Errorf("pid %d (%s): %w", root.pid, root.stat.Comm, err)
	}
	for _, what := range blockers {
		d.blockers.add(root.pid, cli.WithHint(fmt.Errorf("has in its network namespace %w, which can't be saved", what), "remove it, if the program can do without"))
	}
	if err := d.othersInNetwork(); err != nil {
		return err
	}
	d.namespaceRefs.Net = d.newID()
	err = d.ownNamespace(&record.Namespace{Object: record.Object{ID: d.namespaceRefs.Net}, Kind: record.NamespaceNet})
	if err != nil {
		return err
	}
	return network.Records(d.namespaceRefs.Net, d.emit)
}

// othersInNetwork names a process outside of the tree that is in its network namespace.
func (d *description) othersInNetwork() error {
	own := d.facts[d.tree.root().pid].Namespaces[record.NamespaceNet]
	tree := map[int]bool{}
	for _, id := range d.ids.of {
		tree[id] = true
	}
	all, err := proc.Usual.Processes()
	if err != nil {
		return err
	}
	for _, pid := range all {
		if !tree[pid] && !d.ids.own[pid] && proc.Usual.HasThreadIn(pid, record.NamespaceNet, own) {
			d.note("%s is in the tree's network namespace, too; the restored tree gets one of its own", proc.Usual.Named(pid))
			return nil
		}
	}
	return nil
}

func upToNUL(b []byte) []byte {
	text, _, _ := bytes.Cut(b, []byte{0})
	return text
}

// ownNamespace describes one that the root is in.
func (d *description) ownNamespace(ns *record.Namespace) error {
	ns.Ident = fmt.Appendf(nil, "%v %s %d", record.TypeNamespace, ns.Kind, d.facts[d.tree.root().pid].Namespaces[ns.Kind])
	return d.emit(record.TypeNamespace, ns)
}

// ownMounts describes the mount namespace of the tree, if it has one. From now on paths are
// looked up in it.
func (d *description) ownMounts() error {
	if d.mountNamespace == 0 {
		return nil
	}
	of := d.newID()
	d.namespaceRefs = &record.NamespaceRefs{Mnt: of}
	if err := d.ownNamespace(&record.Namespace{Object: record.Object{ID: of}, Kind: record.NamespaceMnt}); err != nil {
		return err
	}
	d.mounts = &mounts.Collector{NewID: d.newID, Emit: d.emit, Block: d.blockers.add, Note: func(pid int, what error) {
		d.note("%s %v", proc.Named(pid), what)
	}, HasPty: func(dev uint64, index int) bool { return d.hasPTY(d.mounts.View(of), dev, index) }}
	err := d.mounts.Add(d.tree.root().pid, of)
	view := d.mounts.View(of)
	d.elsewhere = view == nil // which was said
	if err != nil || d.elsewhere {
		return err
	}
	files.UseMounts(view)
	d.files.Travels = view.Travels
	d.files.Mounts = view.Mounts()
	return d.mounts.Describe()
}

// hasPTY reports whether a pseudoterminal of a devpts file system in the tree's mount namespace
// is the tree's: by one master that was opened in there, and no other terminal is called the
// same.
func (d *description) hasPTY(in *mounts.View, dev uint64, index int) bool {
	has, only := in.HasPTS(dev)
	masters := 0
	for _, a := range d.about {
		for _, s := range a.subjects {
			if n, ok := files.MasterIndex(s); ok && n == index {
				if !in.Has(s.Info.MntID) || !only && s.Stat.Dev != dev {
					return false
				}
				masters++
			} else if n, ok := files.TerminalIndex(s); ok && n == index && s.Stat.Dev != dev {
				return false
			}
		}
	}
	return has && masters == 1
}

// guests blocks processes that would end with the init of a pid namespace, and are not
// saved.
func (d *description) guests() error {
	if !d.kills || !proc.Apart() {
		return nil
	}
	all, err := proc.Processes()
	if err != nil {
		return err
	}
	for _, pid := range all {
		if d.tree.byPID[pid] == nil && pid != ownPID() && !hasEndedWhole(pid) {
			d.blockers.add(pid, cli.WithHint(errors.New("is in the pid namespace, but does not descend from its init, so it would be killed with that and not be saved"), "end it first, or leave the target running: --leave running"))
		}
	}
	return nil
}

// hasEndedWhole reports whether all threads of a process have ended. Nothing of it is lost if
// it ends with others: a ckpt-apply or a ckpt-collect may be there like that, until the one
// outside waits for it.
func hasEndedWhole(pid int) bool {
	stat, err := proc.ReadStat(pid)
	return proc.Gone(err) || err == nil && (stat.State == 'Z' || stat.State == 'X') && stat.NumThreads <= 1
}

// namespacesOfChildren checks the namespaces that a thread's next child will be in: a
// process enters a pid namespace only when it is made, and a time namespace then or at
// execve.
func (d *description) namespacesOfChildren(p *process, tid int, its map[string]uint64) {
	for _, kind := range []string{"pid", "time"} {
		if its[kind] == its[kind+"_for_children"] {
			continue
		}
		who := "has"
		if tid != p.at() {
			who = fmt.Sprintf("has a thread, %d (%s), with", tid, commOf(p.pid, tid))
		}
		d.blockers.add(p.pid, fmt.Errorf("%s another %s namespace for its children than for itself (%s_for_children), which can't be saved", who, kind, kind))
	}
}

// differing returns the names of the kinds of namespaces that differ.
func differing(a, b map[string]uint64) (words []string) {
	for _, kind := range namespaceKinds {
		if a[kind] != b[kind] {
			words = append(words, namespaceWord(kind))
		}
	}
	return words
}

func commOf(pid, tid int) string {
	comm, err := proc.ReadComm(pid, tid)
	if err != nil {
		return "?"
	}
	return comm
}

// closeMounts lets go of the copy of the tree's mount namespace.
func (d *description) closeMounts() error {
	files.UseMounts(nil)
	if d.mounts == nil {
		return nil
	}
	return d.mounts.Close()
}
