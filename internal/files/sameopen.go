package files

import "ckpt/internal/kcmp"

// sameOpen finds descriptors of the tree by the open file description. All anonymous inodes
// are one inode to stat(2), so those of an inode are ordered when the first is asked for.
type sameOpen struct {
	cmp   kcmp.Comparer
	known int // how many of all are indexed
	of    map[inodeKey]*sameInode
}

// sameInode is what the tree has open of an inode.
type sameInode struct {
	all  []int // their places among all that is open
	tree *kcmp.Tree
	in   int // how many of all are in tree
}

func (o *opened) handle() kcmp.Handle { return kcmp.Handle{PID: o.PID, Idx: uint64(o.FD)} }

// find returns the first of all that is the same open file description as s; nil if none is.
// all is that of the call before, or more.
func (f *sameOpen) find(all []opened, s *Subject) (*opened, error) {
	if f.of == nil {
		f.of = map[inodeKey]*sameInode{}
	}
	for ; f.known < len(all); f.known++ {
		key := all[f.known].Subject.inode()
		if f.of[key] == nil {
			f.of[key] = &sameInode{tree: kcmp.NewTree(kcmp.File, f.cmp)}
		}
		f.of[key].all = append(f.of[key].all, f.known)
	}
	same := f.of[s.inode()]
	if same == nil {
		return nil, nil
	}
	for ; same.in < len(same.all); same.in++ {
		i := same.all[same.in]
		if _, _, err := same.tree.Insert(0, all[i].handle(), func() uint64 { return uint64(i) }); err != nil {
			return nil, err
		}
	}
	i, found, err := same.tree.Find(0, kcmp.Handle{PID: s.PID, Idx: uint64(s.FD)})
	if err != nil || !found {
		return nil, err
	}
	return &all[i], nil
}
