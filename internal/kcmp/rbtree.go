package kcmp

import "fmt"

const (
	left  = 0
	right = 1
)

// node is a node of a red-black tree: no red node has a red parent, and every
// path from the root to a leaf has the same number of black nodes.
type node[V any] struct {
	value  V
	parent *node[V]
	child  [2]*node[V]
	red    bool
}

// rbTree only grows. Searching and linking are two steps, so that a search
// that fails half-way has changed nothing.
type rbTree[V any] struct {
	root *node[V]
}

// position is where a search ended.
type position[V any] struct {
	hit    *node[V] // the equal node, or nil
	parent *node[V] // without a hit: the node to link below, nil for the root
	side   int
	loose  bool // without a hit: an answer was Unordered, there is nowhere to link
}

// search descends from the root. order tells how the value sought compares with v.
func (t *rbTree[V]) search(order func(v *V) (Ordering, error)) (position[V], error) {
	return descend(t.root, order)
}

func descend[V any](n *node[V], order func(v *V) (Ordering, error)) (at position[V], err error) {
	for n != nil {
		o, err := order(&n.value)
		if err != nil {
			return position[V]{}, err
		}
		switch o {
		case Equal:
			return position[V]{hit: n}, nil
		case Less:
			at.side = left
		case Greater:
			at.side = right
		case Unordered:
			return descendBoth(n, order)
		default:
			return position[V]{}, fmt.Errorf("comparing gave %v, which no kcmp gives", o)
		}
		at.parent, n = n, n.child[at.side]
	}
	return at, nil
}

// descendBoth searches both branches of a node that gave no direction.
func descendBoth[V any](n *node[V], order func(v *V) (Ordering, error)) (position[V], error) {
	for _, c := range n.child {
		at, err := descend(c, order)
		if err != nil || at.hit != nil {
			return at, err
		}
	}
	return position[V]{loose: true}, nil
}

// link adds v where a search for it ended.
func (t *rbTree[V]) link(at position[V], v V) *node[V] {
	n := &node[V]{value: v, parent: at.parent, red: true}
	if at.parent == nil {
		t.root = n
	} else {
		at.parent.child[at.side] = n
	}
	t.rebalance(n)
	return n
}

// rebalance repairs the one rule a new red node can break, a red parent.
func (t *rbTree[V]) rebalance(n *node[V]) {
	for n.parent != nil && n.parent.red {
		p, g := n.parent, n.parent.parent // a red node is not the root: g exists
		s := g.sideOf(p)
		if u := g.child[1-s]; u != nil && u.red {
			p.red, u.red, g.red = false, false, true
			n = g
			continue
		}
		if p.sideOf(n) != s { // an inner grandchild: make it an outer one
			t.rotate(p, s)
			p = n
		}
		p.red, g.red = false, true
		t.rotate(g, 1-s)
		break
	}
	t.root.red = false
}

// rotate moves n down to side s and its child of the other side up.
func (t *rbTree[V]) rotate(n *node[V], s int) {
	up := n.child[1-s]
	n.child[1-s] = up.child[s]
	if c := up.child[s]; c != nil {
		c.parent = n
	}
	up.parent = n.parent
	if n.parent == nil {
		t.root = up
	} else {
		n.parent.child[n.parent.sideOf(n)] = up
	}
	up.child[s], n.parent = n, up
}

func (n *node[V]) sideOf(child *node[V]) int {
	if n.child[left] == child {
		return left
	}
	return right
}
