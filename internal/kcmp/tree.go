// Package kcmp finds out which handles are one kernel object. The idea, a tree
// of trees, is that of CRIU's file-ids (C. Gorcunov, 2012): kcmp(2) is exact
// but costs a system call for each comparison, so objects are first told apart
// by a genid, 32 bits that are cheap to have and equal for equal objects. The
// main tree holds the distinct genids; only within one are objects compared,
// and since kcmp's answer orders them, they form a tree, too. One pass over n
// handles makes O(log n) calls each, and none for a genid seen once.
package kcmp

// Stats count what a Tree did.
type Stats struct {
	Seen    int // handles looked up
	Objects int // distinct ones among them
	Calls   int // comparisons made
}

// Tree is the tree of trees for one Type. It is not safe for concurrent use.
type Tree struct {
	typ   Type
	cmp   Comparer
	main  rbtree[uint32, *rbtree[Handle, uint64]]
	stats Stats
}

// NewTree returns an empty Tree.
func NewTree(t Type, cmp Comparer) *Tree {
	return &Tree{typ: t, cmp: cmp, main: rbtree[uint32, *rbtree[Handle, uint64]]{cmp: func(a, b uint32) (int, error) {
		switch {
		case a < b:
			return -1, nil
		case a > b:
			return 1, nil
		}
		return 0, nil
	}}}
}

// Insert returns the number of the object that h is a handle of, and whether
// this is its first encounter, whose number newID gave. After an error the Tree
// is as before.
func (t *Tree) Insert(genid uint32, h Handle, newID func() uint64) (id uint64, isNew bool, err error) {
	sub, _, err := t.main.findOrInsert(genid, func() *rbtree[Handle, uint64] {
		return &rbtree[Handle, uint64]{cmp: t.compare}
	})
	if err != nil {
		return 0, false, err
	}
	val, found, err := (*sub).findOrInsert(h, newID)
	if err != nil {
		return 0, false, err
	}
	t.stats.Seen++
	if !found {
		t.stats.Objects++
	}
	return *val, !found, nil
}

func (t *Tree) compare(a, b Handle) (int, error) {
	t.stats.Calls++
	return t.cmp.Compare(t.typ, a, b)
}

// Stats returns what was done so far.
func (t *Tree) Stats() Stats { return t.stats }
