package collect

import (
	"ckpt/internal/task"
	"ckpt/stream/record"
)

// ownCgroup describes a cgroup namespace.
func (d *description) ownCgroup() error {
	if !d.own.cgroup {
		return nil
	}
	root := d.tree.root().pid
	groups, err := task.CgroupRoots(root)
	if err != nil {
		d.blockers.add(root, err)
		return nil
	}
	d.namespaceRefs.Cgroup = d.newID()
	return d.ownNamespace(&record.Namespace{Object: record.Object{ID: d.namespaceRefs.Cgroup}, Kind: record.NamespaceCgroup, Groups: groups})
}
