// Package task knows what a process has besides memory and descriptors:
// registers, credentials, signals, limits and so on. Each resource has one file
// that holds both directions and one row in Resources.
package task

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/kcmp"
	"ckpt/internal/proc"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

// Collector is one thread that stands still and is to be described.
type Collector struct {
	PID, TID int
	Stat     proc.Stat
	Status   proc.Status
	// Facts are the thread's, and FactsOf those of another of its process.
	Facts   *Facts
	FactsOf func(tid int) *Facts
	Loan    *tracee.Loan
	// Asleep is how long the thread had been asleep when it was stopped.
	Asleep time.Duration
	// ID is the number of the object a Shared resource is to emit.
	ID    uint64
	NewID func() uint64
	// Emit adds a record to the stream.
	Emit func(t record.Type, meta any) error
	// Inode describes what a link like /proc/PID/exe leads to and returns the
	// number to refer to it by.
	Inode func(link string) (uint64, error)
	// Block notes something that stands in the way of a checkpoint; collecting
	// goes on, so that all of it is found.
	Block func(reason error)

	// Note tells the user of something worth knowing.
	Note func(format string, args ...any)
	// Keep is told of what must be done right before the tree is killed; nil if
	// it is not to be.
	Keep func(Keep)
	// Outlives reports whether memory at an address is there when the tree has
	// ended.
	Outlives func(addr uint64) bool

	// Notes are the same for all threads of a process; they begin empty.
	Notes *Notes

	answers map[tracee.Query]tracee.Answer
	merges  *bool // what /proc tells of KSM
}

// Restorer is one thread to give its state back.
type Restorer struct {
	PID, TID int
	Puppet   *tracee.Puppet
	// Inode opens what an objref names, with O_ flags.
	Inode func(objref uint64, flags int) (*os.File, error)
	// Note tells the user of something that is not as it was.
	Note func(format string, args ...any)
	// Cgroups is what to do about control groups.
	Cgroups CgroupPolicy
	// Inherited is what all puppets have from the stub; the same for all.
	Inherited *Inherited
	// Settle has all threads of the process make the calls they were asked for.
	Settle func() error
	// Final is what the task is let go with.
	Final Final

	calls *tracee.Vector // that are asked for, see call
	open  []*os.File     // that those fetch
}

// Inherited is what puppets have until something else is restored. It is found out
// from the first that needs it.
type Inherited struct {
	values map[string]uint64 // attributes, by name
	creds  *record.Creds
}

// NewInherited returns one of which nothing is known yet.
func NewInherited() *Inherited { return &Inherited{values: map[string]uint64{}} }

// Host is who restores, this process; all puppets begin as what it is.
type Host struct {
	*caps.Process
	// Who names a process for people.
	Who func(pid int) string
}

// Keep is a call that keeps the end of a thread from changing what outlives it,
// with Loan.CallAndBack.
type Keep struct {
	TID    int
	Anyone bool // any thread that has the same semaphore undo list can make it
	Do     func(l *tracee.Loan) error
}

// Final is set last, when the task is let go.
type Final struct {
	Regs   *tracee.Regs
	XState []byte
	Mask   uint64
	Wait   *tracee.Wait // the thread is in, nil for none
}

// Scope is what has a resource.
type Scope int

const (
	PerThread  Scope = iota
	PerProcess       // described by and restored in its first thread
	// Shared resources are objects, which THREAD records refer to; they are
	// restored in the first thread that has them.
	Shared
)

// Resource is a kind of state, one record type. Each is a row, see there.
type Resource struct {
	Type  record.Type
	Scope Scope
	// Required: no task can do without a record of it.
	Required bool
	// Plenty is what there can be more of than a record holds, in words; "" if
	// that can't be.
	Plenty string
	// Asks are queries that Collect will need the answers to.
	Asks func(c *Collector) []tracee.Query
	// Collect emits the thread's record of the type, or none.
	Collect func(c *Collector) error
	// Check says what in a record can't be restored.
	Check func(rec *stream.Record) []error
	// Here says what in one that passed Check can't be restored by this process.
	Here func(h *Host, rec *stream.Record) []error
	// Restore gives the state in the record to the task, or asks for the calls that
	// do, which are made in the order in which the thread was asked for them.
	Restore func(r *Restorer, rec *stream.Record) error
	// Settled: the calls for what is before it must have been made, in all threads of
	// the process.
	Settled bool
	// Last gives what others notice if the task dies, or what could be in the way of
	// the rest, when all else of all tasks stands. undo takes it back.
	Last func(r *Restorer, rec *stream.Record) (undo func() error, err error)
}

// Resources are all of them, in the order of restoring, which is done for all
// threads of a process, the first one last, before the next resource. All tasks,
// memory and descriptors stand by then; credentials come late, for what is before
// them needs privileges, and what credentials reset comes after.
var Resources = [...]Resource{
	identity,
	layout,
	fsResource,
	userPtrs,
	rseq,
	sigactions,
	signals,
	procAttr,
	cgroups,
	sched,
	limits,
	loginUID,
	seccomp,
	creds,
	prctl,
	itimers,
	timers,
	regs,
	ioCtx,
	semUndo,
}

// Find returns the row of a record type, or nil.
func Find(t record.Type) *Resource {
	for i := range Resources {
		if Resources[i].Type == t {
			return &Resources[i]
		}
	}
	return nil
}

// object is the part of a Shared resource's record that tells it from others.
func (c *Collector) object(kind kcmp.Type) record.Object {
	return record.Object{ID: c.ID, Kcmp: &record.Kcmp{Type: int(kind), TID: c.TID}}
}

// decode returns the Go value of a record.
func decode[T any](rec *stream.Record) (*T, error) {
	v := new(T)
	if err := rec.Decode(v); err != nil {
		return nil, fmt.Errorf("%v record: %w", rec.Type, err)
	}
	return v, nil
}

// query is one that writes n bytes to where the argument scratchArg points.
func query(n int, nr uintptr, args ...uint64) tracee.Query {
	q := tracee.Query{NR: nr, Out: n}
	for i, v := range args {
		if v == scratchArg {
			q.To |= 1 << i
		} else {
			q.Args[i] = v
		}
	}
	return q
}

// Ask asks all that resources will need, with one stop of the thread where it can;
// of Shared ones only if the thread is the first of its process.
func (c *Collector) Ask() error {
	var all []tracee.Query
	for i := range Resources {
		if r := &Resources[i]; r.Asks != nil && (r.Scope == PerThread || c.TID == c.PID) {
			all = append(all, r.Asks(c)...)
		}
	}
	answers, err := c.Loan.Ask(all)
	if err != nil {
		return err
	}
	c.answers = make(map[tracee.Query]tracee.Answer, len(all))
	for i, q := range all {
		c.answers[q] = answers[i]
	}
	return nil
}

// answer returns the answer to a query that was asked, or asks it.
func (c *Collector) answer(q tracee.Query) (tracee.Answer, error) {
	if a, ok := c.answers[q]; ok {
		return a, nil
	}
	return tracee.Ask(c.Loan, q)
}

// find is answer for one that must not fail.
func (c *Collector) find(q tracee.Query) (ret uint64, data []byte, err error) {
	a, err := c.answer(q)
	if err == nil {
		err = a.Err
	}
	return a.Ret, a.Data, err
}

// poke asks the puppet for a call, as call does, that reads buf from its memory,
// which is scratchArg among the arguments.
func (r *Restorer) poke(what string, buf []byte, nr uintptr, args ...uint64) {
	at := r.vector().Put(buf)
	for i := range args {
		if args[i] == scratchArg {
			args[i] = at
		}
	}
	r.call(what, nr, args...)
}

// scratchArg stands for the scratch address in query and poke. It is no address.
const scratchArg = 1<<63 | 0x5c4a7c4

// give hands one of our descriptors to the puppet and returns its number there.
func (r *Restorer) give(f *os.File) (int, error) {
	return r.Puppet.Give(int(f.Fd()))
}

// writeProc writes to a file of /proc/PID, if it has not that content already.
func (r *Restorer) writeProc(name, value string) error {
	path := fmt.Sprintf("/proc/%d/%s", r.PID, name)
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		return fmt.Errorf("set %s of pid %d to %s: %w", name, r.PID, value, err)
	}
	return nil
}

// call asks the puppet for a system call for which only success counts. It is made
// with others by Make.
func (r *Restorer) call(what string, nr uintptr, args ...uint64) {
	r.vector().Add(what, nr, args...)
}

func (r *Restorer) prctl(what string, op, arg uint64) {
	r.call(what, unix.SYS_PRCTL, op, arg, 0, 0, 0)
}

func (r *Restorer) vector() *tracee.Vector {
	if r.calls == nil {
		r.calls = r.Puppet.Vector()
	}
	return r.calls
}

// Make makes the calls that the thread was asked for.
func (r *Restorer) Make() error {
	if r.calls == nil {
		return nil
	}
	errs := []error{r.calls.Run()}
	for _, f := range r.open {
		errs = append(errs, f.Close())
	}
	r.open = nil
	return errors.Join(errs...)
}
