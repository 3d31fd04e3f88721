package kcmp

import (
	"errors"
	"math/rand/v2"
	"testing"
)

var errFake = errors.New("the fake fails")

// fake orders handles by the object each stands for.
type fake struct {
	object    func(Handle) uint64
	rank      func(object uint64) uint64 // an arbitrary, consistent order; nil: the object itself
	unordered func(a, b uint64) bool     // nil: never
	failAt    int                        // fail at that call, from 1; 0: never
	calls     int
}

func (f *fake) Compare(a, b Handle, _ Type) (Ordering, error) {
	f.calls++
	if f.calls == f.failAt {
		return 0, errFake
	}
	x, y := f.object(a), f.object(b)
	if x == y {
		return Equal, nil
	}
	if f.unordered != nil && f.unordered(x, y) {
		return Unordered, nil
	}
	if f.rank != nil {
		x, y = f.rank(x), f.rank(y)
	}
	if x < y {
		return Less, nil
	}
	return Greater, nil
}

func byIdx(h Handle) uint64 { return h.Idx }

// scramble is one to one on 64 bits, as the kernel's own scrambling is.
func scramble(x uint64) uint64 { return (x ^ 0x5bd1e995_2545f491) * 0x9e3779b97f4a7c15 }

// counter is a source of ids from 1.
func counter() func() uint64 {
	var n uint64
	return func() uint64 { n++; return n }
}

// invariants checks a red-black tree and returns its values in order.
func invariants[V any](t *testing.T, tree *rbTree[V]) (values []V) {
	t.Helper()
	if tree.root == nil {
		return nil
	}
	if tree.root.red || tree.root.parent != nil {
		t.Fatal("the root is red or has a parent")
	}
	var walk func(n *node[V]) (black int)
	walk = func(n *node[V]) int {
		if n == nil {
			return 1
		}
		for _, c := range n.child {
			if c != nil && c.parent != n {
				t.Fatal("a child has another parent")
			}
			if c != nil && n.red && c.red {
				t.Fatal("a red node has a red child")
			}
		}
		l := walk(n.child[left])
		values = append(values, n.value)
		if r := walk(n.child[right]); l != r {
			t.Fatalf("%d black nodes to the left, %d to the right", l, r)
		}
		if n.red {
			return l
		}
		return l + 1
	}
	walk(tree.root)
	return values
}

// check checks all invariants of a tree of trees.
func check(t *testing.T, tree *Tree, f *fake) {
	t.Helper()
	groups := invariants(t, &tree.groups)
	objects := 0
	for i := range groups {
		g := &groups[i]
		if i > 0 && groups[i-1].genid >= g.genid {
			t.Fatalf("genid %d stands before %d", groups[i-1].genid, g.genid)
		}
		list := invariants(t, &g.objects)
		if len(list) == 0 {
			t.Fatalf("genid %d has no object in order", g.genid)
		}
		for j := 1; j < len(list); j++ {
			if !f.before(list[j-1].at, list[j].at) {
				t.Fatalf("genid %d: the subtree is not in order at %d", g.genid, j)
			}
		}
		objects += len(list) + len(g.loose)
	}
	if objects != tree.Stats().Objects {
		t.Fatalf("%d objects in the tree, %d counted", objects, tree.Stats().Objects)
	}
}

// before tells the true order, also of a pair Compare calls unordered.
func (f *fake) before(a, b Handle) bool {
	x, y := f.object(a), f.object(b)
	if f.rank != nil {
		x, y = f.rank(x), f.rank(y)
	}
	return x < y
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }
