package sorter

import (
	"testing"

	"ckpt/internal/kcmp"
	"ckpt/stream"
)

// byIdx takes descriptors of one number for one file.
type byIdx struct{}

func (byIdx) Compare(a, b kcmp.Handle, _ kcmp.Type) (kcmp.Ordering, error) {
	switch {
	case a.Idx < b.Idx:
		return kcmp.Less, nil
	case a.Idx > b.Idx:
		return kcmp.Greater, nil
	}
	return kcmp.Equal, nil
}

// TestTreePerType: an epoll and its description are found by the same kcmp
// handle and are two objects.
func TestTreePerType(t *testing.T) {
	s := New(byIdx{})
	id := uint64(0)
	for i, c := range []struct {
		typ  stream.Type
		pid  int
		fd   uint64
		want uint64
		out  stream.Type
	}{
		{stream.TypeEpoll, 1, 5, 1, stream.TypeEpoll},
		{stream.TypeFile, 1, 5, 2, stream.TypeFile},
		{stream.TypeEpoll, 1, 6, 3, stream.TypeEpoll},
		{stream.TypeFile, 1, 6, 4, stream.TypeFile},
		{stream.TypeEpoll, 2, 5, 1, stream.TypeObjref},
		{stream.TypeFile, 2, 5, 2, stream.TypeObjref},
		{stream.TypeFile, 2, 7, 5, stream.TypeFile},
	} {
		id++
		o := stream.Object{ID: id, Genid: 9, Kcmp: &stream.Kcmp{PID: c.pid, Idx: c.fd}}
		var meta any = &stream.Epoll{Object: o}
		if c.typ == stream.TypeFile {
			meta = &stream.File{Object: o}
		}
		rec, err := stream.New(c.typ, meta)
		if err != nil {
			t.Fatal(err)
		}
		out, err := s.Sort(rec)
		if err != nil {
			t.Fatal(err)
		}
		var use stream.ObjrefUse
		if err := out.Decode(&use); err != nil {
			t.Fatal(err)
		}
		if use.Objref != c.want || out.Type != c.out {
			t.Errorf("%d: %v %d, want %v %d", i, out.Type, use.Objref, c.out, c.want)
		}
	}
}
