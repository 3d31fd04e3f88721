package collect

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"ckpt/internal/cli"
	"ckpt/internal/ipc"
	"ckpt/internal/kcmp"
	"ckpt/internal/memory"
	"ckpt/internal/proc"
	"ckpt/stream/record"
)

// ipcMembers blocks an IPC namespace of the tree's own in which somebody else is, too: he
// would stay with what is in it. Only the root's parent may: unshare(1) is in the namespaces
// that it makes, and waits.
func (d *description) ipcMembers() error {
	if !d.own.ipc {
		return nil
	}
	ns := d.facts[d.tree.root().pid].Namespaces[record.NamespaceIPC]
	tree := map[int]bool{}
	for _, p := range d.tree.procs {
		tree[d.ids.usual(p.pid)] = true
	}
	all, err := proc.Usual.Processes()
	if err != nil {
		return err
	}
	parent := 0
	if stat, err := proc.Usual.ReadStat(d.ids.usual(d.tree.root().pid)); err == nil {
		parent = stat.PPID
	}
	for _, pid := range all {
		if tree[pid] || d.ids.own[pid] || !proc.Usual.HasThreadIn(pid, record.NamespaceIPC, ns) {
			continue
		}
		if pid == parent {
			d.note("%s is in the IPC namespace of the tree, too, and will not be in that of the restored one", proc.Usual.Named(pid))
			continue
		}
		d.blockers.add(d.tree.root().pid, cli.WithHint(fmt.Errorf("is in an IPC namespace in which %s is, too, which is not being saved", proc.Usual.Named(pid)), "end that first, or save a tree that has it"))
	}
	return nil
}

// ownIPC describes an IPC namespace.
func (d *description) ownIPC() error {
	if !d.own.ipc {
		return nil
	}
	root := d.tree.root().pid
	settings, err := ipc.ReadSysctls()
	if err != nil {
		return err
	}
	d.namespaceRefs.IPC = d.newID()
	err = d.ownNamespace(&record.Namespace{Object: record.Object{ID: d.namespaceRefs.IPC}, Kind: record.NamespaceIPC, Sysctls: settings})
	if err != nil {
		return err
	}
	mapped, err := d.segments()
	if err != nil {
		return err
	}
	d.ipc = &ipc.Collector{Emit: d.emit, NewID: d.newID, Block: func(reason error) { d.blockers.add(root, reason) },
		InTree: func(pid int) bool { return d.tree.byPID[pid] != nil }, Mapped: mapped, Content: d.files.ContentFrom, Tail: d.files.Tail}
	return errors.Join(d.ipc.Collect(), d.files.OwnMQueues(root))
}

// segments counts how many mappings of the tree are of each System V segment.
func (d *description) segments() (map[int]int, error) {
	mapped := map[int]int{}
	var spaces []int // a process of each address space that has some
	for _, p := range d.tree.procs {
		ids := []int{}
		for i := range d.about[p].maps {
			if id, is := memory.IsSysVShm(&d.about[p].maps[i]); is {
				ids = append(ids, id)
			}
		}
		if len(ids) == 0 {
			continue
		}
		at, known, err := findSpace(spaces, p.pid)
		if err != nil {
			return nil, err
		}
		if known {
			continue
		}
		spaces = slices.Insert(spaces, at, p.pid)
		for _, id := range ids {
			mapped[id]++
		}
	}
	return mapped, nil
}

// findSpace looks for the address space of a process among those of others, which are in the
// order of kcmp(2).
func findSpace(spaces []int, pid int) (at int, known bool, err error) {
	at, known = slices.BinarySearchFunc(spaces, pid, func(other, pid int) int {
		o, cerr := kcmp.Compare(other, pid, kcmp.VM, 0, 0)
		err = cmp.Or(err, cerr)
		switch {
		case o == kcmp.Equal:
			return 0
		case o == kcmp.Less:
			return -1
		}
		return 1
	})
	return at, known, err
}
