package collect

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"

	"ckpt/internal/files"
	"ckpt/internal/ipc"
	"ckpt/internal/loan"
	"ckpt/internal/memory"
	"ckpt/internal/mounts"
	"ckpt/internal/proc"
	"ckpt/internal/task"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

// description is what was found out about the target while it is frozen.
type description struct {
	header  record.Header
	encoder encoder
	records []*stream.Record // what it has encoded
	spaces  []*space
	lender  lender

	tree     *tree
	ids      *ids
	note     func(format string, args ...any)
	looking  func(pid, fd int) // called with what is looked at next
	lastID   uint64
	blockers blockers
	files    *files.Collector
	about    map[*process]*about
	facts    map[int]*task.Facts // by thread id
	mapped   map[memory.Mapped]uint64
	// timeNamespace is that of the root.
	timeNamespace uint64
	namespaceRefs *record.NamespaceRefs // of all tasks
	// mountNamespace is that of the tree, if it is another than ours; then mounts has it.
	mountNamespace uint64
	mounts         *mounts.Collector
	elsewhere      bool // a process is in another mount namespace than it may be: paths mean nothing
	own            ownKinds
	ipc            *ipc.Collector // nil if it has no IPC namespace of its own
	dry            bool           // no filter will see the records
	kills          bool           // the tree is to be killed
	trusts         bool           // its user may use our CAP_NET_ADMIN
	keeps          []keep
	blank          int    // task without some objects, see findBlank
	endBlank       func() // nil if it is not ours
}

// about is what is known about a process while it is described.
type about struct {
	status   proc.Status
	maps     []proc.Mapping
	place    *loan.Place // nil if no system calls can be made in it
	notes    task.Notes
	refs     record.ThreadRefs
	subjects []*files.Subject // of its first thread's descriptors
	pages    []tracee.Range
}

// space is an address space whose pages are to be sent.
type space struct {
	process *process
	id      uint64
	pages   []tracee.Range // of its own
	inherit []tracee.Range // shared with its parent
	place   *loan.Place
	// confined by seccomp: its pages are sent without system calls in it
	confined bool
}

func (s *space) bytes() (n uint64) {
	for _, r := range s.pages {
		n += r.Len
	}
	return n
}

func newDescription(t *tree) *description {
	d := &description{tree: t, ids: new(ids), about: map[*process]*about{}, mapped: map[memory.Mapped]uint64{}}
	var id [16]byte
	rand.Read(id[:])
	d.header.Checkpoint = hex.EncodeToString(id[:])
	held := map[int]bool{}
	leads := map[int]int{} // processes, by the threads by way of which they are looked at
	for _, p := range t.procs {
		for _, th := range p.threads {
			held[th.TID] = true
		}
		leads[p.at()] = p.pid
	}
	d.files = &files.Collector{
		Emit: d.emit, NewID: d.newID, Block: func(id int, reason error) { d.blockers.add(cmp.Or(leads[id], id), reason) },
		Looking: func(pid, fd int) { d.looking(pid, fd) },
		Guard:   d.guard,
		InTree:  func(id int) bool { return held[id] || t.byPID[id] != nil },
	}
	return d
}

func (d *description) emit(t record.Type, meta any) error {
	d.encoder.add(t, meta)
	return nil
}

// encode gets the records that were emitted, and blocks those that are too large.
func (d *description) encode() error {
	all, err := d.encoder.finish()
	if err != nil {
		return err
	}
	for _, rec := range all {
		if err := d.forFilters(rec); err != nil {
			return err
		}
		if len(rec.Meta) <= stream.MaxMetaBytes-rewriteBytes {
			d.records = append(d.records, rec)
		} else if err := d.tooLarge(rec); err != nil {
			return err
		}
	}
	return nil
}

// rewriteBytes is what ckpt-dedup may add to a record.
const rewriteBytes = 4096

// tooLarge notes a record that can't be written.
func (d *description) tooLarge(rec *stream.Record) error {
	var of struct {
		PID int `cbor:"pid"`
		TID int `cbor:"tid"`
	}
	if err := rec.Decode(&of); err != nil {
		return err
	}
	what := memory.Plenty[rec.Type]
	if r := task.Find(rec.Type); r != nil {
		what = r.Plenty
	}
	if what == "" {
		what = "state of one kind (" + rec.Type.String() + ")"
	}
	d.blockers.add(cmp.Or(of.PID, of.TID), fmt.Errorf("has more %s than can be saved: they take %d bytes of an image, and at most %d are allowed", what, len(rec.Meta), stream.MaxMetaBytes))
	return nil
}

func (d *description) newID() uint64 {
	d.lastID++
	return d.lastID
}

// describe fills d with everything about the tree but the bulk data. What can't be saved
// is added to d.blockers.
func (d *description) describe() error {
	defer func() {
		if d.endBlank != nil {
			d.endBlank()
		}
	}()
	if err := errors.Join(d.readFacts(), d.guests(), d.ipcMembers()); err != nil {
		return err
	}
	if err := d.distrust(); err != nil {
		return err
	}
	for _, p := range d.tree.procs {
		if err := d.look(p); err != nil {
			return err
		}
	}
	if d.served() || d.elsewhere {
		return nil
	}
	if err := errors.Join(d.findBlank(), d.readMappings()); err != nil {
		return err
	}
	if err := d.ownNamespaces(); err != nil || d.elsewhere {
		return err
	}
	for _, p := range d.tree.procs {
		if err := d.process(p); err != nil {
			return err
		}
	}
	d.checkKeeps()
	return errors.Join(d.files.Settle(), d.encode())
}

// served blocks everything that the tree has on FUSE, if mapped memory is among it:
// nothing more can be found out without reading that memory.
func (d *description) served() (any bool) {
	for _, p := range d.tree.procs {
		any = any || p.served != nil
	}
	if !any {
		return false
	}
	for _, p := range d.tree.procs {
		for _, reason := range p.served {
			d.blockers.add(p.pid, reason)
		}
		d.files.BlockFUSE(d.about[p].subjects)
	}
	return true
}

// look finds out about a process what must be known about all of them before any is
// described: which descriptors are in the tree.
func (d *description) look(p *process) error {
	d.looking(p.pid, -1)
	a := &about{}
	d.about[p] = a
	if p.zombie {
		return nil
	}
	var err error
	a.status = d.facts[p.at()].Status
	d.ended(p)
	if err := d.namespaces(p); err != nil {
		return err
	}
	if a.subjects, err = d.files.Look(p.at()); err != nil {
		return fmt.Errorf("pid %d: %w", p.pid, err)
	}
	return nil
}

// process describes one process.
func (d *description) process(p *process) error {
	d.looking(p.pid, -1)
	if err := d.task(p); err != nil || p.zombie {
		return err
	}
	a := d.about[p]
	if err := d.vdso(a.maps); err != nil {
		return err
	}
	if err := d.cpu(p); err != nil {
		return err
	}
	if d.callable(p) {
		fds := make([]int, len(a.subjects))
		for i, s := range a.subjects {
			fds[i] = s.FD
		}
		var err error
		if a.place, err = loan.FindPlace(p.threads[0], a.maps, fds, a.status.SigCgt); err != nil {
			return err
		}
	}
	for _, t := range p.threads {
		if d.tree.inside[t.TID] {
			d.header.VDSOInside = t.TID
		}
		if err := d.thread(p, t); err != nil {
			return err
		}
	}
	return d.lender.giveBack()
}
