package sorter

import (
	"testing"

	"ckpt/internal/kcmp"
	"ckpt/stream"
	"ckpt/stream/record"
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
		typ  record.Type
		pid  int
		fd   uint64
		want uint64
		out  record.Type
	}{
		{record.TypeEpoll, 1, 5, 1, record.TypeEpoll},
		{record.TypeFile, 1, 5, 2, record.TypeFile},
		{record.TypeEpoll, 1, 6, 3, record.TypeEpoll},
		{record.TypeFile, 1, 6, 4, record.TypeFile},
		{record.TypeEpoll, 2, 5, 1, record.TypeObjref},
		{record.TypeFile, 2, 5, 2, record.TypeObjref},
		{record.TypeFile, 2, 7, 5, record.TypeFile},
	} {
		id++
		o := record.Object{ID: id, Genid: 9, Kcmp: &record.Kcmp{TID: c.pid, Idx: c.fd}}
		var meta any = &record.Epoll{Object: o}
		if c.typ == record.TypeFile {
			meta = &record.File{Object: o}
		}
		rec, err := stream.New(c.typ, meta)
		if err != nil {
			t.Fatal(err)
		}
		out, err := s.Sort(rec)
		if err != nil {
			t.Fatal(err)
		}
		var use record.ObjrefUse
		if err := out.Decode(&use); err != nil {
			t.Fatal(err)
		}
		if use.Objref != c.want || out.Type != c.out {
			t.Errorf("%d: %v %d, want %v %d", i, out.Type, use.Objref, c.out, c.want)
		}
	}
}
