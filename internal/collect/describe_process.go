package collect

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/files"
	"ckpt/internal/loan"
	"ckpt/internal/memory"
	"ckpt/internal/proc"
	"ckpt/internal/task"
	"ckpt/internal/tracee"
	"ckpt/stream/record"
)

// task emits the TASK record of a process.
func (d *description) task(p *process) error {
	s := &p.stat
	t := record.Task{PID: p.pid, PPID: s.PPID, PGID: s.PGRP, SID: s.Session, TPGID: max(s.TPGID, 0), StartTime: s.StartTime,
		Comm: s.Comm, ExitSignal: s.ExitSignal, Zombie: p.zombie}
	if p.parent != nil {
		t.PPID = p.parent.pid
	}
	if d.refersOut() {
		t.UsualPID = d.ids.usual(p.pid)
	}
	if t.Refs = d.namespaceRefs; t.Refs != nil && p == d.tree.root() {
		t.ExitSignal = int(unix.SIGCHLD) // the parent that it will have is ckpt-apply
	}
	t.SIDOutside, t.PGIDOutside = d.outside(s.Session), d.outside(s.PGRP)
	if p.zombie {
		t.Status = s.ExitCode
		return d.emit(record.TypeTask, &t)
	}
	cmdline, err := proc.ReadCmdline(p.at())
	if err != nil {
		return err
	}
	t.Cmdline = cmdline[:min(len(cmdline), 64<<10)]
	t.StopSig = int(p.threads[0].GroupStop)
	if t.StopSig != 0 && p.parent != nil && d.about[p.parent].place != nil {
		if t.StopTold, err = d.stopTold(p); err != nil {
			return err
		}
	}
	return d.emit(record.TypeTask, &t)
}

// stopTold reports whether wait(2) has reported the stop of a process to its parent.
func (d *description) stopTold(p *process) (bool, error) {
	told := false
	err := d.lender.lend(p.parent.threads[0], d.about[p.parent].place, func(loan *loan.Loan) error {
		untold, err := task.StopUnreported(loan, p.pid)
		if err != nil {
			return fmt.Errorf("pid %d: find out whether wait(2) has reported the stop of pid %d to it: %w", p.parent.pid, p.pid, err)
		}
		told = !untold
		return nil
	})
	return told, err
}

// outside reports whether the leader of a session or group lives outside the tree. A
// leader in another pid namespace is 0.
func (d *description) outside(leader int) bool {
	if d.tree.byPID[leader] != nil {
		return false
	}
	_, err := proc.ReadStat(leader)
	return leader == 0 || err == nil
}

// callable reports whether system calls can be made in a process. If not, a blocker has
// been added.
func (d *description) callable(p *process) bool {
	ok := true
	for _, t := range p.threads {
		regs, err := t.Regs()
		switch {
		case err != nil:
			ok = false
		case !regs.Is64():
			d.blockers.add(p.pid, errors.New("runs 32-bit code, which can't be saved"))
			return false
		case p.narrow:
			d.blockers.add(p.pid, errors.New("runs 64-bit code with 32-bit pointers (x32), which can't be saved"))
			return false
		case t.UsesSyscallDispatch():
			d.blockers.add(p.pid, errors.New("uses syscall user dispatch, which can't be saved"))
			return false
		}
		if err := task.SuspendSeccomp(t, d.facts[t.TID]); err != nil {
			d.blockers.add(p.pid, err)
			return false
		}
	}
	return ok
}

// vdso notes the digest of the kernel's own code in the process, because a thread may be
// inside it. In this process the code is the same.
func (d *description) vdso(maps []proc.Mapping) error {
	for _, m := range maps {
		if m.Name() == "[vdso]" && d.header.VDSO == nil {
			text, err := tracee.VDSO()
			if err != nil {
				return err
			}
			sum := sha256.Sum256(text)
			d.header.VDSO, d.header.VDSOBytes, d.header.VDSOCode = sum[:], int64(m.Len()), bytes.TrimRight(text, "\x00")
		}
	}
	return nil
}

// cpu notes which of the CPU's registers the threads of a process use.
func (d *description) cpu(p *process) error {
	for _, t := range p.threads {
		used, err := t.XFeatures()
		if err != nil {
			return err
		}
		d.header.XFeatures |= used
	}
	return nil
}

// thread describes one thread, after the objects that it does not share with a thread
// that was described before.
func (d *description) thread(p *process, t *tracee.Tracee) error {
	a := d.about[p]
	c := d.collector(p, t)
	var err error
	if a.place != nil {
		if c.Loan, err = d.lender.borrow(t, a.place); err != nil {
			return err
		}
		if err := c.Ask(); err != nil {
			return err
		}
	}
	refs, err := d.shared(p, t, c)
	if err != nil {
		return err
	}
	if t == p.threads[0] {
		a.refs = refs
		if err := d.first(p, c); err != nil {
			return err
		}
	}
	if err := d.emit(record.TypeThread, &record.Thread{PID: p.pid, TID: t.TID, Comm: c.Facts.Comm, Refs: refs}); err != nil {
		return err
	}
	if c.Loan == nil {
		return nil // a blocker was added for that
	}
	if err := d.files.Thread(a.subjects, &files.Thread{TID: t.TID, Ask: c.Loan.Ask, Block: c.Block}); err != nil {
		return err
	}
	for i := range task.Resources {
		r := &task.Resources[i]
		if r.Scope == task.Shared || r.Collect == nil || r.Scope == task.PerProcess && t != p.threads[0] {
			continue
		}
		if err := r.Collect(c); err != nil {
			return err
		}
	}
	return nil
}

func (d *description) collector(p *process, t *tracee.Tracee) *task.Collector {
	f := d.facts[t.TID]
	c := &task.Collector{
		PID: p.pid, TID: t.TID, Leads: t == p.threads[0], Asleep: d.tree.asleep[t.TID], Stat: p.stat, Status: f.Status, Facts: f, Emit: d.emit, NewID: d.newID,
		OwnIPC: d.own.ipc, Note: d.note, Notes: &d.about[p].notes, Root: "/",
		FactsOf:      func(tid int) *task.Facts { return d.facts[tid] },
		DescribeLink: func(link string) (uint64, error) { return d.files.DescribeLink(p.at(), link) },
		Block:        func(reason error) { d.blockers.add(p.pid, reason) },
	}
	if d.mounts != nil {
		c.Root = fmt.Sprintf("/proc/self/fd/%d", d.mounts.View(d.namespaceRefs.Mnt).Root().Fd())
	}
	if d.kills {
		c.Keep = func(k task.Keep) { d.keeps = append(d.keeps, keep{p, k}) }
		c.Outlives = func(addr uint64) bool {
			i := slices.IndexFunc(d.about[p].maps, func(m proc.Mapping) bool { return addr >= m.Start && addr < m.End })
			return i >= 0 && task.Outlives(&d.about[p].maps[i])
		}
	}
	return c
}

// addressSpace describes the mappings of a process and finds its pages.
func (d *description) addressSpace(p *process, id uint64) error {
	a := d.about[p]
	mc := &memory.Collector{
		PID: p.pid, At: p.at(), ID: id, Known: d.mapped, Emit: d.emit, NewID: d.newID, Content: d.files.Content, Tail: d.files.TailOf, OwnIPC: d.own.ipc,
		DescribeMapped: func(m *proc.Mapping) (uint64, error) { return d.files.DescribeMapped(p.at(), m) },
		Block:          func(reason error) { d.blockers.add(p.pid, reason) },
	}
	if d.lender.loan != nil {
		mc.Loan = d.lender.loan
	}
	if err := mc.Collect(a.maps); err != nil {
		return err
	}
	a.pages = mc.Pages
	s := &space{process: p, id: id, pages: mc.Pages, place: a.place, confined: a.status.Seccomp != 0}
	if p.parent != nil && d.about[p.parent].pages != nil {
		var err error
		if s.inherit, s.pages, err = memory.Inherited(p.parent.at(), p.at(), mc.Pages); err != nil {
			return err
		}
	}
	d.spaces = append(d.spaces, s)
	return nil
}

// descriptors describes a descriptor table.
func (d *description) descriptors(p *process, t *tracee.Tracee, id uint64) error {
	subjects := d.about[p].subjects
	if t != p.threads[0] {
		var err error
		if subjects, err = d.files.Look(t.TID); err != nil {
			return err
		}
	}
	if err := d.emit(record.TypeFDTable, &record.FDTable{Object: kcmpObject(id, kindFiles, t.TID), TID: t.TID}); err != nil {
		return err
	}
	return d.files.Collect(id, subjects)
}

func kcmpObject(id uint64, kind int, tid int) record.Object {
	return record.Object{ID: id, Kcmp: &record.Kcmp{Type: kind, TID: tid}}
}
