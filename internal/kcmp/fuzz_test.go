package kcmp

import (
	"errors"
	"testing"
)

// FuzzTree reads bytes as operations. The first says how many genids there are
// and which pairs are unordered; then two bytes each are an object and what to
// do with it.
func FuzzTree(f *testing.F) {
	f.Add([]byte{0, 1, 0, 2, 0, 3, 0, 1, 0, 2, 1})
	f.Add([]byte{0xf3, 9, 0, 8, 2, 7, 0, 9, 4, 9, 1, 8, 0})
	f.Add([]byte("\x10abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmn"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) == 0 {
			return
		}
		genids, mask := uint64(in[0]&15)+1, uint64(in[0]>>4)
		cmp := &fake{
			object:    func(h Handle) uint64 { return h.Idx & 0xff },
			rank:      scramble,
			unordered: func(a, b uint64) bool { return mask != 0 && scramble(a^b)>>60 < mask },
		}
		tree, next, want := NewTree(File, cmp), counter(), map[uint64]uint64{}
		for i := 1; i+1 < len(in); i += 2 {
			o, op := uint64(in[i]), in[i+1]
			genid, h := uint32(scramble(o)%genids), Handle{1, uint64(i)<<8 | o}
			cmp.calls, cmp.failAt = 0, int(op>>1) // 0 mostly fails nothing
			id, known, err := step(tree, genid, h, op, next)
			if err != nil {
				if !errors.Is(err, errFake) || cmp.calls != cmp.failAt {
					t.Fatal(err)
				}
				continue
			}
			old, had := want[o]
			if known != had || id != old && (had || op&1 != 0) {
				t.Fatalf("object %d: id %d known %v, want %d %v", o, id, known, old, had)
			}
			if op&1 == 0 {
				want[o] = id
			}
		}
		if len(want) != tree.Stats().Objects {
			t.Fatalf("%d objects, want %d", tree.Stats().Objects, len(want))
		}
		check(t, tree, cmp)
	})
}

func step(tree *Tree, genid uint32, h Handle, op byte, next func() uint64) (id uint64, known bool, err error) {
	if op&1 != 0 {
		return tree.Lookup(genid, h)
	}
	id, isNew, err := tree.Insert(genid, h, next)
	return id, !isNew, err
}
