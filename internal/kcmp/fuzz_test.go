package kcmp

import (
	"errors"
	"testing"
)

// FuzzTree reads bytes as operations. The first says how many genids there are
// and which pairs are unordered; then come pairs of bytes, an object and the
// comparison that fails.
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
			o, fail := uint64(in[i]), in[i+1]
			genid, h := uint32(scramble(o)%genids), Handle{1, uint64(i)<<8 | o}
			cmp.calls, cmp.failAt = 0, int(fail) // 0 fails nothing
			id, isNew, err := tree.Insert(genid, h, next)
			if err != nil {
				if !errors.Is(err, errFake) || cmp.calls != cmp.failAt {
					t.Fatal(err)
				}
				continue
			}
			old, had := want[o]
			if isNew == had || had && id != old {
				t.Fatalf("object %d: id %d new %v, want %d %v", o, id, isNew, old, !had)
			}
			want[o] = id
		}
		if len(want) != tree.Stats().Objects {
			t.Fatalf("%d objects, want %d", tree.Stats().Objects, len(want))
		}
		check(t, tree, cmp)
	})
}
