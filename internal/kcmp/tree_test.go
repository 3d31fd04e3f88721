package kcmp

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"testing"
)

// TestPartition holds the tree against the plain partition: two handles have
// one id exactly if they stand for one object.
func TestPartition(t *testing.T) {
	never := func(a, b uint64) bool { return false }
	for _, c := range []struct {
		name      string
		genids    uint64
		unordered func(a, b uint64) bool
	}{
		{"one genid", 1, never},
		{"few genids", 7, never},
		{"many genids", 1 << 20, never},
		{"one genid, all unordered", 1, func(a, b uint64) bool { return true }},
		{"one genid, some pairs unordered", 1, func(a, b uint64) bool { return scramble(a^b)>>62 == 0 }},
		{"few genids, some objects unordered", 3, func(a, b uint64) bool { return a%5 == 0 || b%5 == 0 }},
		{"one genid, unordered at random", 1, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(60) {
				r := newRand(seed)
				unordered := c.unordered
				if unordered == nil {
					unordered = func(a, b uint64) bool { return r.IntN(4) == 0 }
				}
				partition(t, seed, c.genids, unordered)
			}
		})
	}
}

func partition(t *testing.T, seed, genids uint64, unordered func(a, b uint64) bool) {
	t.Helper()
	r := newRand(seed)
	objects := 1 + r.Uint64N(150)
	salt := r.Uint64()
	of := map[Handle]uint64{}
	f := &fake{
		object:    func(h Handle) uint64 { return of[h] },
		rank:      func(o uint64) uint64 { return scramble(o ^ salt) },
		unordered: unordered,
	}
	tree, next, want := NewTree(File, f), counter(), map[uint64]uint64{}
	for i := range uint64(300) {
		h, o := Handle{PID: 1 + r.IntN(9), Idx: i}, r.Uint64N(objects)
		of[h] = o
		genid := uint32(scramble(o) % genids)
		known, had := want[o]
		id, isNew, err := tree.Insert(genid, h, next)
		if err != nil || isNew == had || had && id != known {
			t.Fatalf("seed %d: insert of object %d gave %d %v %v, want %d %v", seed, o, id, isNew, err, known, !had)
		}
		if !had && id != uint64(len(want)+1) {
			t.Fatalf("seed %d: object %d has id %d, want %d", seed, o, id, len(want)+1)
		}
		want[o] = id
	}
	check(t, tree, f)
	if got, exp := tree.Stats(), (Stats{Seen: 300, Objects: len(want), Calls: f.calls}); got != exp {
		t.Fatalf("seed %d: stats %+v, want %+v", seed, got, exp)
	}
}

func TestNoCallForGenidSeenOnce(t *testing.T) {
	f := &fake{object: byIdx}
	tree, next := NewTree(File, f), counter()
	for i := range uint64(5000) {
		if _, isNew, err := tree.Insert(uint32(scramble(i)>>32), Handle{1, i}, next); err != nil || !isNew {
			t.Fatal(isNew, err)
		}
	}
	if f.calls != 0 {
		t.Fatalf("%d calls, want 0", f.calls)
	}
	check(t, tree, f)
}

// TestCallBound: a red-black tree of n nodes is at most 2*log2(n+1) high.
func TestCallBound(t *testing.T) {
	for _, c := range []struct {
		name string
		rank func(uint64) uint64
	}{
		{"scrambled", scramble},
		{"rising", func(o uint64) uint64 { return o }},
		{"falling", func(o uint64) uint64 { return -o }},
		{"inward", func(o uint64) uint64 { return o * (1 - o%2*2) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fake{object: byIdx, rank: c.rank}
			tree, next := NewTree(File, f), counter()
			for n := range uint64(5000) {
				for _, isNew := range []bool{true, false} {
					f.calls = 0
					_, got, err := tree.Insert(9, Handle{1, n}, next)
					if err != nil || got != isNew {
						t.Fatal(n, got, err)
					}
					nodes := tree.Stats().Objects
					if isNew {
						nodes-- // those there before
					}
					if limit := 2 * math.Log2(float64(nodes+1)); float64(f.calls) > limit {
						t.Fatalf("%d calls among %d objects, at most %.1f", f.calls, nodes, limit)
					}
				}
			}
			check(t, tree, f)
		})
	}
}

// TestErrorChangesNothing fails each insert at each call it makes.
func TestErrorChangesNothing(t *testing.T) {
	for _, unordered := range []func(a, b uint64) bool{nil, func(a, b uint64) bool { return (a^b)%3 == 0 }} {
		f := &fake{object: byIdx, rank: scramble, unordered: unordered}
		tree, next := NewTree(File, f), counter()
		for i := range uint64(200) {
			for fail := 1; ; fail++ {
				before, stats := shape(tree), tree.Stats()
				f.calls, f.failAt = 0, fail
				id, isNew, err := tree.Insert(uint32(i%2), Handle{1, i}, next)
				if err == nil {
					if !isNew || id != i+1 {
						t.Fatalf("object %d has id %d %v: a failed insert took one", i, id, isNew)
					}
					break
				}
				stats.Calls = tree.Stats().Calls
				if !errors.Is(err, errFake) || id != 0 || isNew || tree.Stats() != stats || !reflect.DeepEqual(shape(tree), before) {
					t.Fatalf("object %d, call %d: %v, or the tree changed", i, fail, err)
				}
			}
		}
		f.failAt = 0
		check(t, tree, f)
	}
}

// shape lists all nodes with depth and colour.
func shape(t *Tree) (list []string) {
	var objects func(n *node[object], path string)
	objects = func(n *node[object], path string) {
		if n != nil {
			list = append(list, fmt.Sprint(path, n.red, n.value))
			objects(n.child[left], path+"l")
			objects(n.child[right], path+"r")
		}
	}
	var groups func(n *node[group], path string)
	groups = func(n *node[group], path string) {
		if n != nil {
			list = append(list, fmt.Sprint(path, n.red, n.value.genid, n.value.loose))
			objects(n.value.objects.root, path+" ")
			groups(n.child[left], path+"l")
			groups(n.child[right], path+"r")
		}
	}
	groups(t.groups.root, "")
	return list
}

func TestStrangeAnswer(t *testing.T) {
	tree := NewTree(File, answer(4))
	if _, _, err := tree.Insert(1, Handle{1, 1}, counter()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := tree.Insert(1, Handle{1, 2}, counter()); err == nil {
		t.Fatal("an answer of 4 is taken")
	}
}

type answer Ordering

func (a answer) Compare(_, _ Handle, _ Type) (Ordering, error) { return Ordering(a), nil }

// TestSharedCounter: trees draw from one counter.
func TestSharedCounter(t *testing.T) {
	next := counter()
	files, vms := NewTree(File, &fake{object: byIdx}), NewTree(VM, &fake{object: byIdx})
	for want := uint64(1); want < 30; want += 2 {
		a, _, _ := files.Insert(0, Handle{1, want}, next)
		b, _, _ := vms.Insert(0, Handle{1, want}, next)
		if a != want || b != want+1 {
			t.Fatalf("ids %d %d, want from %d", a, b, want)
		}
	}
}
