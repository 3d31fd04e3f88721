// Package task saves and restores what a process has besides memory and
// descriptors: registers, credentials, signals, limits and so on. Each resource has
// one source file, which holds both directions, and one row in Resources.
package task

import (
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/kcmp"
	"ckpt/internal/loan"
	"ckpt/internal/proc"
	"ckpt/internal/puppet"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

// Collector describes one thread, which is stopped.
type Collector struct {
	PID, TID int
	Leads    bool // it is the first of its process that has not ended
	Stat     proc.Stat
	Status   proc.Status
	// Facts are those of the thread, FactsOf those of another thread of its process.
	Facts   *Facts
	FactsOf func(tid int) *Facts
	Loan    *loan.Loan
	// Asleep is how long the thread had been asleep when it was stopped.
	Asleep time.Duration
	// Root is a path to the root folder of its mount namespace.
	Root string
	// ID is the number of the object that a Shared resource emits.
	ID    uint64
	NewID func() uint64
	// Emit adds a record to the stream.
	Emit func(t record.Type, meta any) error
	// DescribeLink describes what a link like /proc/PID/exe leads to, and returns
	// the number of its record.
	DescribeLink func(link string) (uint64, error)
	// Block notes something that stands in the way of a checkpoint. Collecting
	// goes on, so that all such reasons are found.
	Block func(reason error)

	// Note tells the user something worth knowing.
	Note func(format string, args ...any)
	// Keep notes what must be done right before the tree is killed; nil if it
	// won't be killed.
	Keep func(Keep)
	// OwnIPC: the IPC namespace that the process is in ends with the tree.
	OwnIPC bool
	// Outlives reports whether the memory at an address outlives the tree.
	Outlives func(addr uint64) bool

	// Notes are shared by all threads of a process; they begin empty.
	Notes *Notes

	answers map[tracee.Query]tracee.Answer
	merges  *bool // whether KSM may merge its memory, according to /proc
}

// Restorer restores the state of one thread.
type Restorer struct {
	PID, TID int
	// WasTID is the id that the thread had when it was saved.
	WasTID int
	Puppet *puppet.Puppet
	// Open opens the object of an objref, with O_ flags.
	Open func(objref uint64, flags int) (*os.File, error)
	// Note tells the user about something that is not as it was.
	Note func(format string, args ...any)
	// Cgroups says what to do about control groups.
	Cgroups CgroupPolicy
	// Inherited is what all puppets inherit from the stub.
	Inherited *Inherited
	// Auxv returns an auxiliary vector as it is to be here.
	Auxv func([]byte) []byte
	// Settle makes all threads of the process make the calls added so far.
	Settle func() error
	// Final is set when the task is let go.
	Final Final

	calls *puppet.Vector // calls added so far, see call
	open  []*os.File     // files that they fetch
}

// Inherited is what puppets have until something else is restored. It is read from
// the first puppet that needs it.
type Inherited struct {
	values map[string]uint64 // attributes, by name
	creds  *record.Creds
}

// NewInherited returns an Inherited of which nothing is known yet.
func NewInherited() *Inherited { return &Inherited{values: map[string]uint64{}} }

// Host is this process, which restores; all puppets begin with its properties.
type Host struct {
	*caps.Process
	// Who names a process in messages.
	Who func(pid int) string

	unknown map[string]bool // attributes that this kernel does not know
	own     proc.Limits     // see ownLimits
	nrOpen  int64           // fs.nr_open, once own was read
}

// ownLimits returns the limits of this process.
func (h *Host) ownLimits() (*proc.Limits, error) {
	if h.nrOpen != 0 {
		return &h.own, nil
	}
	var err error
	if h.own, err = proc.ReadLimits(os.Getpid()); err != nil {
		return nil, err
	}
	if h.nrOpen, err = proc.ReadSysctl("fs/nr_open"); err != nil {
		h.nrOpen = math.MaxInt64
	}
	return &h.own, nil
}

// Keep is something to do, with Loan.CallAndBack, so that the end of a thread does
// not change what outlives it.
type Keep struct {
	TID    int
	Anyone bool // any thread that has the same semaphore undo list can do it
	Do     func(l *loan.Loan) error
}

// Final is set last, when the task is let go.
type Final struct {
	Regs   *tracee.Regs
	XState []byte
	Mask   uint64
	Wait   *tracee.Wait // that the thread was in; nil for none
}

// Scope says what a resource belongs to.
type Scope int

const (
	PerThread  Scope = iota
	PerProcess       // described and restored by way of the first thread
	// Shared resources are objects, which THREAD records refer to; they are
	// restored in the first thread that has them.
	Shared
)

// Resource is a kind of state, with one record type. Each is made from a row.
type Resource struct {
	Type  record.Type
	Scope Scope
	// Required: every task must have a record of it.
	Required bool
	// First: what belongs to each thread, and is described of a process's first thread even
	// if that has ended while others go on, because it can be seen, or says something of
	// the process.
	First bool
	// Plenty names, for messages, what there can be so many of that a record can't
	// hold them; "" if that can't happen.
	Plenty string
	// Asks returns the queries whose answers Collect will need.
	Asks func(c *Collector) []tracee.Query
	// Collect emits the thread's record of the type, or nothing.
	Collect func(c *Collector) error
	// Check returns what in a record can't be restored.
	Check func(rec *stream.Record) []error
	// Here returns what in a record that passed Check this process can't restore.
	Here func(h *Host, rec *stream.Record) []error
	// Restore restores the state in the record, or adds the calls that do so. They
	// are made later, in the order in which they were added.
	Restore func(r *Restorer, rec *stream.Record) error
	// Settled: the calls for all resources before this one must have been made, in
	// all threads of the process.
	Settled bool
	// Last restores what others would notice if the task died, or what could get in
	// the way of the rest, when everything else of all tasks is restored. undo takes
	// it back.
	Last func(r *Restorer, rec *stream.Record) (undo func() error, err error)
}

// Resources are all resources, in the order in which they are restored: each in all
// threads of a process, in the first thread last, before the next one. By then all
// tasks, memory and descriptors are there. Credentials come late, because what is
// before them needs privileges; what a change of credentials resets comes after.
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

// Find returns the resource with a record type, or nil.
func Find(t record.Type) *Resource {
	for i := range Resources {
		if Resources[i].Type == t {
			return &Resources[i]
		}
	}
	return nil
}

// OfEnded returns the Collector of the process's first thread, which has ended, as far as it
// still has something, given its facts. The process's own is found out by way of c's thread.
func (c *Collector) OfEnded(f *Facts) *Collector {
	of := *c
	of.TID, of.Facts, of.Status = c.PID, f, f.Status
	return &of
}

// object is the part of a Shared resource's record that identifies it.
func (c *Collector) object(kind kcmp.Type) record.Object {
	return record.Object{ID: c.ID, Kcmp: &record.Kcmp{Type: int(kind), TID: c.TID}}
}

// decode decodes a record.
func decode[T any](rec *stream.Record) (*T, error) {
	v := new(T)
	if err := rec.Decode(v); err != nil {
		return nil, fmt.Errorf("%v record: %w", rec.Type, err)
	}
	return v, nil
}

// query returns a query that writes n bytes to where its argument scratchArg points.
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

// Ask asks all queries of all resources, with one stop of the thread if it can. Those
// of resources that are not PerThread are asked only of the first thread of a process.
func (c *Collector) Ask() error {
	var all []tracee.Query
	for i := range Resources {
		if r := &Resources[i]; r.Asks != nil && (r.Scope == PerThread || c.Leads) {
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

// answer returns the answer to a query; if it was not asked before, it asks now.
func (c *Collector) answer(q tracee.Query) (tracee.Answer, error) {
	if a, ok := c.answers[q]; ok {
		return a, nil
	}
	return tracee.Ask(c.Loan, q)
}

// result is answer for a query that must not fail.
func (c *Collector) result(q tracee.Query) (ret uint64, data []byte, err error) {
	a, err := c.answer(q)
	if err == nil {
		err = a.Err
	}
	return a.Ret, a.Data, err
}

// callWith is call for a system call that reads buf from memory. The argument
// scratchArg stands for its address.
func (r *Restorer) callWith(what string, buf []byte, nr uintptr, args ...uint64) {
	at := r.vector().Put(buf)
	for i := range args {
		if args[i] == scratchArg {
			args[i] = at
		}
	}
	r.call(what, nr, args...)
}

// scratchArg stands for an address in the scratch memory, in query and callWith. It
// is not itself an address.
const scratchArg = 1<<63 | 0x5c4a7c4

// give hands one of our descriptors to the puppet and returns its number there.
func (r *Restorer) give(f *os.File) (int, error) {
	return r.Puppet.Give(int(f.Fd()))
}

// writeProc writes to a file in /proc/PID.
func (r *Restorer) writeProc(name, value string) error {
	path := proc.Path(r.PID, name)
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		return fmt.Errorf("set %s of pid %d to %s: %w", name, r.PID, value, err)
	}
	return nil
}

// call adds a system call that must succeed and whose result does not matter. Make
// makes it, together with others.
func (r *Restorer) call(what string, nr uintptr, args ...uint64) {
	r.vector().Add(what, nr, args...)
}

func (r *Restorer) prctl(what string, op, arg uint64) {
	r.call(what, unix.SYS_PRCTL, op, arg, 0, 0, 0)
}

func (r *Restorer) vector() *puppet.Vector {
	if r.calls == nil {
		r.calls = r.Puppet.Vector()
	}
	return r.calls
}

// Make makes the calls that were added.
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
