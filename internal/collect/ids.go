package collect

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/stream"
	"ckpt/stream/record"
)

// ids knows which process ids the tasks of the target, and our own, have in proc.Usual:
// there, filters behind us look for them, and processes outside share with them. They are
// other ones than here only if we are inside of the target's pid namespace.
type ids struct {
	root int
	own  map[int]bool // our processes, in proc.Usual
	of   map[int]int  // nil if all are the same
}

func newIDs(root int, in *inside) (*ids, error) {
	d := &ids{root: root, own: map[int]bool{ownPID(): true}}
	if in == nil {
		return d, nil
	}
	pid, tid, err := proc.Usual.Self()
	if err != nil {
		return nil, err
	}
	d.own = map[int]bool{pid: true, in.front: true}
	d.of = map[int]int{ownPID(): pid, unix.Gettid(): tid}
	return d, d.find(root)
}

// usual returns the id of a task in proc.Usual.
func (d *ids) usual(id int) int {
	if d.of == nil {
		return id
	}
	return d.of[id]
}

// refersOut reports whether filters behind us know the tasks by other ids.
func (d *description) refersOut() bool { return d.ids.of != nil && !d.dry }

// forFilters gives an object the id by which filters behind us can compare it.
func (d *description) forFilters(rec *stream.Record) error {
	if !d.refersOut() || rec.Flags&record.Shareable == 0 {
		return nil
	}
	o, err := rec.Object()
	if err != nil || o.Kcmp == nil {
		return err
	}
	id := d.ids.usual(o.Kcmp.TID)
	if id == 0 {
		return fmt.Errorf("thread %d has no id outside of its pid namespace", o.Kcmp.TID)
	}
	o.Kcmp.TID = id
	return rec.Set(map[string]any{"kcmp": o.Kcmp})
}

// learn finds the ids of all tasks of the tree, which stand still.
func (d *ids) learn(t *tree) error {
	if d.of == nil {
		return nil
	}
	for _, p := range t.procs {
		if err := d.find(p.pid); err != nil {
			return err
		}
		if len(p.threads) < 2 && !p.headless() {
			continue
		}
		if err := d.findThreads(d.of[p.pid]); err != nil {
			return err
		}
	}
	return nil
}

// find finds the id of a process.
func (d *ids) find(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(fd)
	d.of[pid], err = proc.Usual.Of(fd)
	return err
}

// findThreads finds the ids of the threads of a process, given that in proc.Usual.
func (d *ids) findThreads(pid int) error {
	tids, err := proc.Usual.Threads(pid)
	if err != nil {
		return err
	}
	for _, tid := range tids {
		status, err := proc.Usual.ReadThreadStatus(pid, tid)
		if err != nil {
			return err
		}
		if n := len(status.NSpid); n > 0 { // one for each namespace that it has an id in
			d.of[status.NSpid[n-1]] = tid
		}
	}
	return nil
}
