package judge

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"ckpt/internal/files"
	"ckpt/internal/ipc"
	"ckpt/internal/mounts"
	"ckpt/internal/netns"
	"ckpt/internal/task"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

// Model is all metadata of a stream, sorted.
type Model struct {
	Header        record.Header
	Objects       []*stream.Record // records with an objref, in the stream's order
	Parts         []*stream.Record // records that add something to one of them, see object.Kind
	Defined       map[uint64]*stream.Record
	Tasks         []*Task // parents before their children
	ByPID         map[int]*Task
	ByTID         map[int]*Thread
	Spaces        map[uint64]*Space // by the objref of the MM
	Tables        map[uint64]*Table // by the objref of the FDTABLE
	Namespaces    map[uint64]*record.Namespace
	Mounts        []*stream.Record          // of mount namespaces, and the file systems in them
	Networks      map[uint64]*netns.Network // by the objref of the NAMESPACE of net
	ForeignVDSO   []byte                    // see memory.ForeignVDSO; set when it is judged here
	Bytes         int64                     // about how much memory it takes
	New           *NewIDs                   // nil: the tasks keep their ids
	links         stream.Links              // of the record that is added
	mapped        map[uint64]files.Mapped
	usedElsewhere map[uint64]bool // objects that others than open file descriptions refer to
}

// Task is one process.
type Task struct {
	record.Task
	Parent    *Task
	Children  []*Task
	Threads   []*Thread // the first is the leader, which may have ended; a zombie has none
	Resources map[record.Type]*stream.Record

	// Session and Group are those that it will have, 0 for ckpt-apply's own. They
	// are those that it had, unless their leader is not in the image.
	Session, Group int
}

// Headless reports whether the process's first thread has ended.
func (t *Task) Headless() bool { return len(t.Threads) > 0 && t.Threads[0].Ended }

// Living returns the threads that have not ended.
func (t *Task) Living() []*Thread {
	if t.Headless() {
		return t.Threads[1:]
	}
	return t.Threads
}

// Refs returns the objects of the first thread; a zombie has none.
func (t *Task) Refs() record.ThreadRefs {
	if len(t.Threads) == 0 {
		return record.ThreadRefs{}
	}
	return t.Threads[0].Refs
}

// Thread is one thread of a process.
type Thread struct {
	record.Thread
	Resources map[record.Type]*stream.Record
}

// Space is an address space.
type Space struct {
	Rec  *stream.Record
	VMAs []record.VMA
}

// OtherVDSO is where its program has the vdso of a kernel where it was before.
func (s *Space) OtherVDSO() tracee.Range {
	var mm record.MM
	if s.Rec.Decode(&mm) != nil {
		return tracee.Range{} // which was reported
	}
	_, other := tracee.FindVDSO(mm.Auxv)
	return other
}

// Table is a descriptor table.
type Table struct {
	FDs   []record.FD
	Locks []record.Lock
	Slots []int // numbers that parts of objects need temporarily, see Model.Parts
}

// maxModelBytes is how much memory the metadata of a stream may take.
const maxModelBytes = 2 << 30

const (
	maxOffset = 1 << 62 // of a mapping; memory.Check refuses those beyond
	protExec  = 4       // PROT_EXEC
)

// maxComm bounds the name of a task, which messages contain. The kernel's own limit,
// TASK_COMM_LEN of linux/sched.h, is lower.
const maxComm = 64

// extentBytes is how much memory a record.Extent takes. In a record it may be one
// byte.
const extentBytes = 16

// recordBytes is about how much memory a decoded record takes besides its text.
const recordBytes = 512

// New returns the model of a stream that begins with header.
func New(header *record.Header) *Model {
	return &Model{Header: *header, Defined: map[uint64]*stream.Record{}, ByPID: map[int]*Task{}, ByTID: map[int]*Thread{},
		Spaces: map[uint64]*Space{}, Tables: map[uint64]*Table{}, Namespaces: map[uint64]*record.Namespace{}, Networks: map[uint64]*netns.Network{}, usedElsewhere: map[uint64]bool{}, mapped: map[uint64]files.Mapped{}}
}

// sort sorts mappings by address and descriptors by number.
func (m *Model) sort() {
	for _, s := range m.Spaces {
		slices.SortFunc(s.VMAs, func(a, b record.VMA) int { return cmp.Compare(a.Start, b.Start) })
	}
	for _, t := range m.Tables {
		slices.SortFunc(t.FDs, func(a, b record.FD) int { return cmp.Compare(a.FD, b.FD) })
	}
}

// Add adds one record. References may only point backwards.
func (m *Model) Add(rec *stream.Record) error {
	if err := count(&m.Bytes, rec); err != nil {
		return err
	}
	if err := m.refs(rec); err != nil {
		return err
	}
	switch {
	case rec.Type == record.TypeObjref:
		return m.again(rec)
	case rec.Flags&record.Shareable != 0 && record.Lookup(rec.Type) != nil:
		return m.define(rec)
	case record.Lookup(rec.Type) == nil:
		return m.unknown(rec)
	}
	switch rec.Type {
	case record.TypeTask:
		return m.task(rec)
	case record.TypeThread:
		return m.thread(rec)
	case record.TypeVMA:
		return m.vma(rec)
	case record.TypeFD:
		return m.fd(rec)
	case record.TypeLock:
		return m.lock(rec)
	}
	switch {
	case netns.IsPart(rec.Type):
		return m.netPart(rec)
	case files.IsPart(rec.Type):
		return m.part(rec)
	case mounts.IsPart(rec.Type):
		m.Mounts = append(m.Mounts, rec)
		return nil
	}
	return m.belongs(rec)
}

func (m *Model) task(rec *stream.Record) error {
	t := &Task{Resources: map[record.Type]*stream.Record{}}
	if err := rec.Decode(&t.Task); err != nil {
		return err
	}
	switch {
	case m.ByPID[t.PID] != nil:
		return fmt.Errorf("%w: pid %d occurs twice", stream.ErrCorrupt, t.PID)
	case len(t.Comm) > maxComm:
		return fmt.Errorf("%w: pid %d has a name of %d bytes", stream.ErrCorrupt, t.PID, len(t.Comm))
	}
	if len(m.Tasks) > 0 {
		if t.Parent = m.ByPID[t.PPID]; t.Parent == nil || t.Parent.Zombie {
			return fmt.Errorf("%w: the parent of pid %d, %d, does not come before it", stream.ErrCorrupt, t.PID, t.PPID)
		}
		t.Parent.Children = append(t.Parent.Children, t)
	}
	m.Tasks = append(m.Tasks, t)
	m.ByPID[t.PID] = t
	return nil
}

func (m *Model) thread(rec *stream.Record) error {
	t := &Thread{Resources: map[record.Type]*stream.Record{record.TypeThread: rec}}
	if err := rec.Decode(&t.Thread); err != nil {
		return err
	}
	of := m.ByPID[t.PID]
	switch {
	case of == nil || of.Zombie:
		return fmt.Errorf("%w: it belongs to pid %d, which has no TASK record before it", stream.ErrCorrupt, t.PID)
	case m.ByTID[t.TID] != nil || t.TID != t.PID && m.ByPID[t.TID] != nil:
		return fmt.Errorf("%w: thread %d occurs twice", stream.ErrCorrupt, t.TID)
	case len(t.Comm) > maxComm:
		return fmt.Errorf("%w: thread %d has a name of %d bytes", stream.ErrCorrupt, t.TID, len(t.Comm))
	case t.Ended && t.TID != t.PID:
		return fmt.Errorf("%w: thread %d has ended and is not the first of pid %d", stream.ErrCorrupt, t.TID, t.PID)
	case len(of.Threads) == 0 && t.TID != t.PID:
		return fmt.Errorf("%w: the first thread of pid %d does not come before it", stream.ErrCorrupt, t.PID)
	}
	for _, k := range task.Cloned {
		ref := *k.Ref(&t.Refs)
		if ref == 0 && k.Optional {
			continue
		}
		if d := m.Defined[ref]; d == nil || d.Type != k.Type {
			return fmt.Errorf("%w: thread %d refers to object %d as a %v, which it is not", stream.ErrCorrupt, t.TID, ref, k.Type)
		}
	}
	if first := of; len(first.Threads) > 0 && (first.Refs().MM != t.Refs.MM || first.Refs().Sighand != t.Refs.Sighand) {
		return fmt.Errorf("%w: thread %d has another address space or other signal actions than its process", stream.ErrCorrupt, t.TID)
	}
	of.Threads = append(of.Threads, t)
	m.ByTID[t.TID] = t
	return nil
}

func (m *Model) vma(rec *stream.Record) error {
	v, err := stream.Decoded[record.VMA](rec)
	if err != nil {
		return err
	}
	s := m.Spaces[v.Refs.Of]
	if s == nil {
		return fmt.Errorf("%w: it is part of object %d, which is not an MM", stream.ErrCorrupt, v.Refs.Of)
	}
	to := mappable[v.Kind]
	if err := m.checkRef(reference{"inode", to, to != nil}, v.Refs.Inode); err != nil {
		return err
	}
	m.Bytes += int64(len(v.Guards)) * extentBytes
	s.VMAs = append(s.VMAs, *v)
	if v.Refs.Inode != 0 && v.Start < v.End && v.Offset < maxOffset && v.End < maxOffset {
		u := m.mapped[v.Refs.Inode]
		m.mapped[v.Refs.Inode] = files.Mapped{End: max(u.End, int64(v.Offset+v.End-v.Start)), Program: u.Program || v.Prot&protExec != 0, Exe: u.Exe}
	}
	return nil
}

// table returns the descriptor table that a record is part of.
func (m *Model) table(of uint64) (*Table, error) {
	t := m.Tables[of]
	if t == nil {
		return nil, fmt.Errorf("%w: it is part of object %d, which is not an FDTABLE", stream.ErrCorrupt, of)
	}
	return t, nil
}

func (m *Model) fd(rec *stream.Record) error {
	fd, err := stream.Decoded[record.FD](rec)
	if err != nil {
		return err
	}
	t, err := m.table(fd.Refs.Of)
	if err != nil {
		return err
	}
	t.FDs = append(t.FDs, *fd)
	return nil
}

func (m *Model) lock(rec *stream.Record) error {
	l, err := stream.Decoded[record.Lock](rec)
	if err != nil {
		return err
	}
	t, err := m.table(l.Refs.Of)
	if err != nil {
		return err
	}
	t.Locks = append(t.Locks, *l)
	return nil
}

// part notes a record that adds something to an object. A thread does that, by way of
// the descriptor number in the record.
func (m *Model) part(rec *stream.Record) error {
	if rec.Type == record.TypeSockRights { // no thread is needed for that
		m.Parts = append(m.Parts, rec)
		return nil
	}
	tid, err := m.idIn("tid")
	if err != nil {
		return err
	}
	fd, err := m.idIn("fd")
	if err != nil {
		return err
	}
	th := m.ByTID[tid]
	if th == nil {
		return fmt.Errorf("%w: it belongs to thread %d, which has no THREAD record before it", stream.ErrCorrupt, tid)
	}
	t := m.Tables[th.Refs.Files]
	t.Slots = append(t.Slots, fd)
	m.Parts = append(m.Parts, rec)
	return nil
}

// netPart adds what is in a network namespace.
func (m *Model) netPart(rec *stream.Record) error {
	n := m.Networks[m.links.Ref("of")]
	if n == nil {
		return fmt.Errorf("%w: it is part of object %d, which is not a network namespace", stream.ErrCorrupt, m.links.Ref("of"))
	}
	return n.Add(rec)
}

// belongs assigns a record to the process or thread that it names.
func (m *Model) belongs(rec *stream.Record) error {
	pid, err := m.idIn("pid")
	if err != nil {
		return err
	}
	tid, err := m.idIn("tid")
	if err != nil {
		return err
	}
	r := task.Find(rec.Type)
	if r == nil || r.Scope == task.Shared {
		return fmt.Errorf("%w: it does not belong there", stream.ErrCorrupt)
	}
	var to map[record.Type]*stream.Record
	if r.Scope == task.PerProcess {
		if t := m.ByPID[pid]; t != nil && len(t.Threads) > 0 {
			to = t.Resources
		}
	} else if t := m.ByTID[tid]; t != nil && t.PID == pid {
		to = t.Resources
	}
	if to == nil {
		return fmt.Errorf("%w: it belongs to pid %d, which has no TASK and THREAD record before it", stream.ErrCorrupt, pid)
	}
	if to[rec.Type] != nil {
		return fmt.Errorf("%w: pid %d has it twice", stream.ErrCorrupt, pid)
	}
	to[rec.Type] = rec
	rec.DecodeAhead()
	return nil
}

// idIn returns the process id, thread id or descriptor in a field of the record that is
// added.
func (m *Model) idIn(name string) (int, error) {
	n, err := m.links.Uint(name)
	if err == nil && n > math.MaxInt {
		err = fmt.Errorf("%w: %s is %d", stream.ErrCorrupt, name, n)
	}
	return int(n), err
}

// define notes an object.
func (m *Model) define(rec *stream.Record) error {
	objref, err := m.name(rec)
	if err != nil {
		return err
	}
	switch rec.Type {
	case record.TypeMM:
		m.Spaces[objref] = &Space{Rec: rec}
	case record.TypeFDTable:
		m.Tables[objref] = &Table{}
	case record.TypeNamespace:
		ns := new(record.Namespace)
		if err := rec.Decode(ns); err != nil {
			return err
		}
		m.Namespaces[objref] = ns
		if ns.Kind == record.NamespaceNet {
			m.Networks[objref] = new(netns.Network)
		}
	case record.TypeFilesystem:
		m.Mounts = append(m.Mounts, rec)
	default:
		if r := task.Find(rec.Type); (r == nil || r.Scope != task.Shared) && rec.Type != record.TypeFile && !isThing(rec.Type) && !slices.Contains(ipc.Types(), rec.Type) {
			return fmt.Errorf("%w: it can't be an object", stream.ErrCorrupt)
		}
	}
	m.Objects = append(m.Objects, rec)
	rec.DecodeAhead() // while others still work on what is not read yet
	return nil
}

// again checks that the object of an OBJREF record is defined before, with that type.
func (m *Model) again(rec *stream.Record) error {
	var o record.ObjrefUse
	if err := rec.Decode(&o); err != nil {
		return err
	}
	switch d := m.Defined[o.Objref]; {
	case d == nil:
		return fmt.Errorf("%w: object %d is not defined before", stream.ErrCorrupt, o.Objref)
	case d.Type != o.Type:
		return fmt.Errorf("%w: object %d is a %v, not a %v", stream.ErrCorrupt, o.Objref, d.Type, o.Type)
	}
	return nil
}
