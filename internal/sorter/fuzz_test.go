package sorter

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"ckpt/internal/kcmp"
	"ckpt/stream"
	"ckpt/stream/record"
)

// fakeKernel says how objects stand to each other by what a table has for
// their handles.
type fakeKernel struct {
	objects []byte // which object a handle leads to, by its descriptor
	lies    byte   // not 0: answers have no sense
	failAt  int    // fails at that call, from 1
	calls   int
}

func (k *fakeKernel) object(h kcmp.Handle) int {
	if len(k.objects) == 0 {
		return 0
	}
	return int(k.objects[(uint64(h.PID)*7+h.Idx)%uint64(len(k.objects))])
}

func (k *fakeKernel) Compare(a, b kcmp.Handle, t kcmp.Type) (kcmp.Ordering, error) {
	k.calls++
	x, y := k.object(a), k.object(b)
	switch {
	case k.calls == k.failAt:
		return 0, &kcmp.Error{Type: t, A: a, B: b, Err: 3}
	case k.lies != 0:
		return kcmp.Ordering(k.calls * int(k.lies) >> 2 & 3), nil
	case x == y:
		return kcmp.Equal, nil
	case x*37%256 < y*37%256:
		return kcmp.Less, nil
	}
	return kcmp.Greater, nil
}

// met is an object as the plainest way to sort knows it: an encounter is
// compared with all before it.
type met struct {
	typ   record.Type
	kcmp  bool
	which int // the object, or the kind of comparison
	cmp   int
	ident string
	ref   uint64
}

// reference sorts by comparing everything with everything.
type reference struct {
	known []met
	refs  map[uint64]uint64 // id to objref
	again map[uint64]bool
	last  uint64
}

func (r *reference) add(id uint64, m met) (ref uint64, isNew bool) {
	same := func(o met) bool {
		return m.kcmp && o.kcmp && o.typ == m.typ && o.cmp == m.cmp && o.which == m.which || !m.kcmp && !o.kcmp && m.ident != "" && o.ident == m.ident
	}
	if i := slices.IndexFunc(r.known, same); i >= 0 {
		r.refs[id], r.again[id] = r.known[i].ref, true
		return r.known[i].ref, false
	}
	r.last++
	m.ref = r.last
	r.known = append(r.known, m)
	r.refs[id] = m.ref
	return m.ref, true
}

// misnamed reports whether it has the ident of another type's.
func (r *reference) misnamed(m met) bool {
	return m.ident != "" && slices.ContainsFunc(r.known, func(o met) bool { return o.ident == m.ident && o.typ != m.typ })
}

var types = []record.Type{record.TypeFile, record.TypeEpoll, record.TypeReg, record.TypeMM, record.TypePipe}

// FuzzSorter: what comes out is what comparing everything with everything gives,
// whatever kcmp says as long as it makes sense; a kcmp that fails is an error,
// and one that lies makes no stream with references that don't fit.
func FuzzSorter(f *testing.F) {
	f.Add(byte(0), uint16(0), []byte{1, 2, 3, 1}, []byte{1, 0, 1, 1, 1, 1, 0, 2, 1, 1, 0, 3, 2, 1, 1, 2, 3, 0, 1, 2})
	f.Add(byte(0), uint16(3), []byte{1, 1}, []byte{1, 0, 1, 1, 1, 1, 0, 2, 1, 1, 0, 3, 1, 1})
	f.Add(byte(5), uint16(0), []byte{9, 8, 7, 6}, []byte("\x01\x00\x01\x01\x01\x01\x00\x01\x02\x01\x01\x00\x01\x03\x01\x01\x00\x01\x04\x01"))
	f.Add(byte(0), uint16(0), []byte{0}, []byte("\x02\x01ab\x02\x01ab\x02\x02ab\x04\xa1\x62id\x01\x05\x01"))
	f.Fuzz(func(t *testing.T, lies byte, failAt uint16, objects, script []byte) {
		if len(script) > 4096 {
			return
		}
		k := &fakeKernel{objects: objects, lies: lies, failAt: int(failAt)}
		c := &check{t: t, k: k, s: New(k), b: script, ref: reference{refs: map[uint64]uint64{}, again: map[uint64]bool{}}, out: map[uint64]record.Type{}}
		for len(c.b) > 0 && c.step() {
		}
	})
}

// check sorts and compares.
type check struct {
	t   *testing.T
	k   *fakeKernel
	s   *Sorter
	b   []byte
	id  uint64
	ref reference
	out map[uint64]record.Type // objrefs that came out
}

func (c *check) next() byte {
	if len(c.b) == 0 {
		return 0
	}
	v := c.b[0]
	c.b = c.b[1:]
	return v
}

// some returns the next n bytes without taking them.
func (c *check) some(n int) []byte { return c.b[:min(n, len(c.b))] }

// step sorts one record, and reports whether it could be.
func (c *check) step() bool {
	switch c.next() % 6 {
	case 0, 1:
		m := met{typ: types[int(c.next())%len(types)], kcmp: true, cmp: int(c.next()) % 8}
		h := kcmp.Handle{PID: int(c.next()), Idx: uint64(c.next())}
		m.which = c.k.object(h)
		// equal for equal objects, and for some others
		return c.object(m, record.Object{Genid: uint32(m.which % 3), Kcmp: &record.Kcmp{Type: m.cmp, TID: h.PID, Idx: h.Idx}})
	case 2:
		m := met{typ: types[int(c.next())%len(types)], ident: string(c.some(int(c.next()) % 4))}
		return c.object(m, record.Object{Ident: []byte(m.ident)})
	case 3:
		return c.part()
	case 4: // anything
		rec := &stream.Record{Type: record.Type(c.next()), Flags: record.Flags(c.next() & 7)}
		rec.Meta = slices.Clone(c.some(int(c.next())))
		_, err := c.s.Sort(rec)
		return err == nil && rec.Flags&record.Shareable == 0
	default: // an id that was there
		rec, _ := stream.New(record.TypeReg, &record.Reg{Object: record.Object{ID: uint64(c.next()), Ident: []byte("x")}})
		var o record.Object
		if err := rec.Decode(&o); err != nil {
			c.t.Fatal(err)
		}
		if _, there := c.ref.refs[o.ID]; !there && o.ID != 0 {
			return true
		}
		if _, err := c.s.Sort(rec); !errors.Is(err, stream.ErrCorrupt) {
			c.t.Fatalf("id %d again: %v", o.ID, err)
		}
		return true
	}
}

// refsOut are references to what was met, and what they are to become.
func (c *check) refsOut() (ids, objrefs map[string]uint64) {
	ids, objrefs = map[string]uint64{}, map[string]uint64{}
	for _, name := range []string{"a", "b"} {
		if c.id > 0 {
			ids[name] = uint64(c.next()) % (c.id + 1) // 0: none
			objrefs[name] = c.ref.refs[ids[name]]
		}
	}
	return ids, objrefs
}

func (c *check) object(m met, o record.Object) bool {
	ids, objrefs := c.refsOut()
	c.id++
	o.ID = c.id
	rec, err := stream.New(m.typ, &struct {
		record.Object
		More int `cbor:"zzz"`
	}{o, 7})
	if err = errors.Join(err, rec.SetRefs(ids)); err != nil {
		c.t.Fatal(err)
	}
	before := c.k.calls
	out, err := c.s.Sort(rec)
	failed := c.k.failAt > before && c.k.failAt <= c.k.calls
	if bad := m.kcmp && m.cmp > int(kcmp.SysVSem) || c.ref.misnamed(m); bad || failed {
		if err == nil || bad && !errors.Is(err, stream.ErrCorrupt) {
			c.t.Fatalf("type %d, kcmp failed %v: %v", m.cmp, failed, err)
		}
		return false
	}
	if err != nil {
		c.t.Fatal(err)
	}
	var got struct {
		record.Object
		Type record.Type       `cbor:"type"`
		Refs map[string]uint64 `cbor:"refs"`
		More int               `cbor:"zzz"`
	}
	if err := out.Decode(&got); err != nil {
		c.t.Fatal(err)
	}
	isNew := out.Type != record.TypeObjref
	if c.k.lies != 0 { // any object of that type
		if there, ok := c.out[got.Objref]; isNew == ok || !isNew && (there != m.typ || got.Type != m.typ) {
			c.t.Fatalf("object %d, new %v, is a %v, was a %v", got.Objref, isNew, m.typ, there)
		}
		c.ref.refs[c.id] = got.Objref
		c.ref.again[c.id] = !isNew
		c.ref.known = append(c.ref.known, m)
	} else if want, wantNew := c.ref.add(c.id, m); got.Objref != want || isNew != wantNew {
		c.t.Fatalf("object %d, new %v, should be %d, %v", got.Objref, isNew, want, wantNew)
	}
	if !isNew {
		return true
	}
	c.out[got.Objref] = m.typ
	if out.Type != m.typ || got.ID != 0 || got.Kcmp != nil || got.Ident != nil || got.Genid != 0 || got.More != 7 || !maps.Equal(got.Refs, objrefs) {
		c.t.Fatalf("%v record %+v with references %v, should have %v", out.Type, got, got.Refs, objrefs)
	}
	return true
}

// part sorts a record that is part of an object.
func (c *check) part() bool {
	ids, objrefs := c.refsOut()
	if len(ids) == 0 {
		return true
	}
	ids["of"] = uint64(c.next()) % (c.id + 1)
	objrefs["of"] = c.ref.refs[ids["of"]]
	rec, err := stream.New(record.TypeVMA, &struct{}{})
	if err = errors.Join(err, rec.SetRefs(ids)); err != nil {
		c.t.Fatal(err)
	}
	out, err := c.s.Sort(rec)
	if err != nil || (out == nil) != c.ref.again[ids["of"]] {
		c.t.Fatalf("a part of object %d, met again %v: %v %v", ids["of"], c.ref.again[ids["of"]], out, err)
	}
	if out == nil {
		return true
	}
	if refs, err := out.Refs(); err != nil || !maps.Equal(refs, objrefs) {
		c.t.Fatalf("references %v, should be %v, %v", refs, objrefs, err)
	}
	return true
}
