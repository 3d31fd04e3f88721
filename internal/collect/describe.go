package collect

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"ckpt/internal/files"
	"ckpt/internal/memory"
	"ckpt/internal/proc"
	"ckpt/internal/task"
	"ckpt/internal/tracee"
	"ckpt/stream"
)

// description is what was found out of the target while it stood still.
type description struct {
	header  stream.Header
	records []*stream.Record
	bulk    []files.Sender
	pages   []tracee.Range
	loan    *tracee.Loan
	pid     int

	lastID   uint64
	blockers blockers
	files    *files.Collector
}

func newDescription() *description {
	d := &description{}
	d.files = &files.Collector{
		Emit: d.emit, NewID: d.newID, Block: d.blockers.add,
		Bulk: func(send files.Sender) { d.bulk = append(d.bulk, send) },
	}
	return d
}

func (d *description) emit(t stream.Type, meta any) error {
	rec, err := stream.New(t, meta)
	if err != nil {
		return err
	}
	d.records = append(d.records, rec)
	return nil
}

func (d *description) newID() uint64 {
	d.lastID++
	return d.lastID
}

// describe fills d with everything about a process but the bulk data. What
// can't be saved is gathered in d.blockers.
func (d *description) describe(p *process) error {
	d.pid = p.pid
	leader := p.threads[0]
	status, err := proc.ReadStatus(p.pid)
	if err != nil {
		return err
	}
	if err := preflight(&d.blockers, p.pid, &status); err != nil {
		return err
	}
	if leader.UsesSyscallDispatch() {
		d.blockers.add(p.pid, errors.New("uses syscall user dispatch, which can't be saved"))
	}
	maps, err := proc.ReadMappings(p.pid)
	if err != nil {
		return err
	}
	fds, err := proc.FDs(p.pid)
	if err != nil {
		return err
	}
	if err := d.vdso(leader, maps); err != nil {
		return err
	}
	if regs, err := leader.Regs(); err != nil || !regs.Is64() || leader.UsesSyscallDispatch() {
		if err == nil && !regs.Is64() {
			d.blockers.add(p.pid, errors.New("runs 32-bit code, which can't be saved"))
		}
		return errors.Join(err, d.outside(p, maps)) // no system calls in such a one
	}
	if err := task.SuspendSeccomp(leader); err != nil {
		d.blockers.add(p.pid, err)
		return d.outside(p, maps)
	}
	place, err := leader.FindPlace(maps, fds)
	if err != nil {
		return err
	}
	if d.loan, err = leader.Borrow(place); err != nil {
		return err
	}
	if err := d.inside(p, &status); err != nil {
		return err
	}
	return d.outside(p, maps)
}

// vdso notes what the kernel's own code in the process is: a thread may be
// inside it. It is the same in ours.
func (d *description) vdso(t *tracee.Tracee, maps []proc.Mapping) error {
	for _, m := range maps {
		if m.Name() == "[vdso]" {
			text, err := tracee.VDSO()
			if err != nil {
				return err
			}
			sum := sha256.Sum256(text)
			d.header.VDSO, d.header.VDSOBytes = sum[:], int64(m.Len())
		}
	}
	xstate, err := t.XState()
	if err != nil {
		return err
	}
	_, d.header.XFeatures = tracee.XFeatures(xstate)
	return nil
}

// inside describes what is found by system calls in the process.
func (d *description) inside(p *process, status *proc.Status) error {
	stat, err := proc.ReadStat(p.pid)
	if err != nil {
		return err
	}
	c := &task.Collector{
		PID: p.pid, TID: p.threads[0].TID, Stat: stat, Status: *status, Loan: d.loan, Emit: d.emit,
		Inode: func(link string) (uint64, error) { return d.files.Path(p.pid, link) },
		Block: func(reason error) { d.blockers.add(p.pid, reason) },
	}
	for i := range task.Resources {
		if err := task.Resources[i].Collect(c); err != nil {
			return err
		}
	}
	return nil
}

// outside describes memory and descriptors, from /proc.
func (d *description) outside(p *process, maps []proc.Mapping) error {
	mc := &memory.Collector{
		PID: p.pid, Emit: d.emit, NewID: d.newID, Content: d.files.Content,
		Inode: func(link string) (uint64, error) { return d.files.Path(p.pid, link) },
		Block: func(reason error) { d.blockers.add(p.pid, reason) },
	}
	if err := mc.Collect(maps); err != nil {
		return err
	}
	d.pages = mc.Pages
	if err := d.files.Collect(p.pid); err != nil {
		return fmt.Errorf("pid %d: %w", p.pid, err)
	}
	return nil
}
