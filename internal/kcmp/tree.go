package kcmp

// Comparer tells how object a compares with object b. Kernel is the real one.
type Comparer interface {
	Compare(a, b Handle, typ Type) (Ordering, error)
}

// Stats counts what a Tree did. Calls per Seen is its price.
type Stats struct {
	Seen    int // handles inserted, shared ones included
	Objects int // different objects among them
	Calls   int // comparisons made, failed ones included
}

// Tree gives every handle the id of its object. It is not safe for concurrent
// use. All handles are of one type and of tasks that stand still.
type Tree struct {
	typ    Type
	cmp    Comparer
	groups rbTree[group]
	stats  Stats
}

// group is all objects of one genid.
type group struct {
	genid   uint32
	objects rbTree[object]
	loose   []object // those with no position in the order
}

type object struct {
	at Handle // the first handle inserted for it
	id uint64
}

// NewTree returns an empty tree of objects of type typ.
func NewTree(typ Type, cmp Comparer) *Tree {
	return &Tree{typ: typ, cmp: cmp}
}

// Stats returns the counts so far.
func (t *Tree) Stats() Stats { return t.stats }

// Insert returns the id of h's object. A new object gets its id from newID, and
// isNew is true; newID is not called otherwise. The genid must
// be the same for all handles of one object. An error leaves the tree as it
// was.
func (t *Tree) Insert(genid uint32, h Handle, newID func() uint64) (id uint64, isNew bool, err error) {
	at := t.group(genid)
	if at.hit == nil {
		id = newID()
		g := t.groups.link(at, group{genid: genid})
		g.value.objects.link(position[object]{}, object{h, id})
		t.count(true)
		return id, true, nil
	}
	g := &at.hit.value
	found, end, err := g.find(t.order(h))
	if err != nil {
		return 0, false, err
	}
	if found != nil {
		t.count(false)
		return found.id, false, nil
	}
	id = newID()
	g.add(end, object{h, id})
	t.count(true)
	return id, true, nil
}

// Find returns the id of h's object if that was inserted.
func (t *Tree) Find(genid uint32, h Handle) (id uint64, found bool, err error) {
	at := t.group(genid)
	if at.hit == nil {
		return 0, false, nil
	}
	o, _, err := at.hit.value.find(t.order(h))
	if o == nil || err != nil {
		return 0, false, err
	}
	return o.id, true, nil
}

// group searches the main tree.
func (t *Tree) group(genid uint32) position[group] {
	at, _ := t.groups.search(func(g *group) (Ordering, error) {
		switch {
		case genid < g.genid:
			return Less, nil
		case genid > g.genid:
			return Greater, nil
		}
		return Equal, nil
	})
	return at
}

func (t *Tree) order(h Handle) func(*object) (Ordering, error) {
	return func(o *object) (Ordering, error) {
		t.stats.Calls++
		return t.cmp.Compare(h, o.at, t.typ)
	}
}

func (t *Tree) count(isNew bool) {
	t.stats.Seen++
	if isNew {
		t.stats.Objects++
	}
}

// find returns the equal object, or where a new one belongs.
func (g *group) find(order func(*object) (Ordering, error)) (*object, position[object], error) {
	at, err := g.objects.search(order)
	if err != nil {
		return nil, at, err
	}
	if at.hit != nil {
		return &at.hit.value, at, nil
	}
	for i := range g.loose {
		o, err := order(&g.loose[i])
		if err != nil {
			return nil, at, err
		}
		if o == Equal {
			return &g.loose[i], at, nil
		}
	}
	return nil, at, nil
}

func (g *group) add(at position[object], o object) {
	if at.loose {
		g.loose = append(g.loose, o)
		return
	}
	g.objects.link(at, o)
}
