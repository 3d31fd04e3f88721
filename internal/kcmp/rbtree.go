package kcmp

// node of a red-black tree, left-leaning (R. Sedgewick, 2008): red links lean
// left, no path has two in a row, and all paths have as many black ones.
type node[K, V any] struct {
	key         K
	val         V
	left, right *node[K, V]
	red         bool
}

// rbtree is a map ordered by a comparison that may fail.
type rbtree[K, V any] struct {
	root *node[K, V]
	cmp  func(a, b K) (int, error)
}

// findOrInsert is one descent for both: the value there is, or make's, with
// false. When a comparison fails the tree is as before.
func (t *rbtree[K, V]) findOrInsert(key K, make func() V) (val *V, found bool, err error) {
	var path []step[K, V]
	for n := t.root; n != nil; {
		c, err := t.cmp(key, n.key)
		if err != nil {
			return nil, false, err
		}
		if c == 0 {
			return &n.val, true, nil
		}
		path = append(path, step[K, V]{n, c < 0})
		if c < 0 {
			n = n.left
		} else {
			n = n.right
		}
	}
	fresh := &node[K, V]{key: key, val: make(), red: true}
	child := fresh
	for i := len(path) - 1; i >= 0; i-- {
		n := path[i].n
		if path[i].left {
			n.left = child
		} else {
			n.right = child
		}
		child = balance(n)
	}
	child.red = false
	t.root = child
	return &fresh.val, false, nil
}

type step[K, V any] struct {
	n    *node[K, V]
	left bool
}

func isRed[K, V any](n *node[K, V]) bool { return n != nil && n.red }

func balance[K, V any](n *node[K, V]) *node[K, V] {
	if isRed(n.right) && !isRed(n.left) {
		r := n.right
		n.right, r.left = r.left, n
		r.red, n.red = n.red, true
		n = r
	}
	if isRed(n.left) && isRed(n.left.left) {
		l := n.left
		n.left, l.right = l.right, n
		l.red, n.red = n.red, true
		n = l
	}
	if isRed(n.left) && isRed(n.right) {
		n.red, n.left.red, n.right.red = true, false, false
	}
	return n
}
