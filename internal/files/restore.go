package files

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/depot"
	"ckpt/internal/ends"
	"ckpt/internal/objhash"
	"ckpt/internal/tracee"
	"ckpt/stream"
)

// Restorer makes open files again. The hash holds one reference on each while
// the restart lasts; the files of the depot are those references.
type Restorer struct {
	Depot    *depot.Depot
	Hash     *objhash.Hash[objhash.Object]
	Policies Policies
	Stdio    Stdio
	// Own is what this process may do; nil on paper.
	Own *caps.Process
	// Paper: Check does not look at this system, nor asks for decisions.
	Paper bool
	Ends  *ends.Decisions
	// Root is the process id of the first process.
	Root int
	// Who names a process for people.
	Who func(pid int) string
	// Elsewhere reports whether something is used other than by descriptors.
	Elsewhere func(objref uint64) bool
	// Users are the tasks that use what paths lead to, by the inode's objref.
	Users map[uint64]*User
	// Pair, if not nil, makes a pair of unix sockets of a type as their maker did.
	Pair func(kind int, maker *stream.PeerCred) ([2]int, error)
	// SameBoot: the system was not started again since the checkpoint, so that
	// devices have the numbers they had.
	SameBoot bool
	// InTree reports whether the image has a process or thread.
	InTree func(id int) bool
	// Mapped is how address spaces use files.
	Mapped map[uint64]Mapped
	// Note tells the user of something that is not as it was.
	Note func(format string, args ...any)
	// Lives says whether the image has a process.
	Lives func(pid int) bool
	// Owns says whether all processes of the image have a user and a group id.
	Owns func(uid, gid uint32) bool
	// Termios are, after Object, the settings of the terminal the program had.
	Termios []byte

	plan   plan
	uses   map[uint64]*use // of what is open
	regs   map[uint64]*stream.Reg
	cuts   []cut
	later  []laterFD
	extra  uint64 // objects put in the hash that no record defines
	memfds []*memfd
	owned  []owned
	async  map[uint64]bool      // FILEs that are to have O_ASYNC
	ends   map[uint64]*unixSock // sockets by inode number that wait for their other end's record
}

// file is a live open file description.
type file struct {
	f *depot.File
	// s is what to open once all tasks are there, while f is nil
	s *stream.File
}

func (f *file) Close() error { return f.f.Close() }

// keep puts a file that was just opened into the depot.
func (r *Restorer) keep(f *os.File, err error) (*depot.File, error) {
	if err != nil {
		return nil, err
	}
	return r.Depot.Keep(f)
}

// give copies a file into a puppet and returns its number there.
func give(p *tracee.Puppet, f *depot.File) (int, error) {
	fd, err := f.Fd()
	if err != nil {
		return -1, err
	}
	return p.Give(fd)
}

func (r *Restorer) file(objref uint64) (*file, error) {
	obj, err := r.Hash.Get(objref, stream.TypeFile)
	if err != nil {
		return nil, err
	}
	f := obj.(*file)
	if f.f == nil {
		f.f, err = r.keep(r.openFile(f.s))
	}
	return f, err
}

// late reports whether a description can't be opened before all tasks, and what
// else they have open, are there.
func (r *Restorer) late(objref uint64) bool {
	obj, err := r.Hash.Get(objref)
	f, ok := obj.(*file)
	return err == nil && ok && f.s != nil
}

// Open opens what an objref names.
func (r *Restorer) Open(objref uint64, flags int) (*os.File, error) {
	obj, err := r.Hash.Get(objref)
	if err != nil {
		return nil, err
	}
	in, ok := obj.(interface{ Open(int) (*os.File, error) })
	if !ok {
		return nil, fmt.Errorf("%w: object %d can't be opened", stream.ErrCorrupt, objref)
	}
	return in.Open(flags)
}

// Object restores what the record of a kind, or a FILE record, describes.
func (r *Restorer) Object(rec *stream.Record) error {
	var o stream.Object
	if err := rec.Decode(&o); err != nil {
		return err
	}
	if rec.Type == stream.TypeFile {
		f, err := r.restoreFile(rec, o.Objref)
		if err != nil || f == nil {
			return err
		}
		return r.Hash.Add(o.Objref, rec.Type, f)
	}
	if name, ok := r.plan.unneeded[o.Objref]; ok {
		return r.Hash.Add(o.Objref, rec.Type, replaced(name))
	}
	in, err := Find(rec.Type).Restore(r, rec)
	if err != nil {
		return err
	}
	return r.Hash.Add(o.Objref, rec.Type, in)
}

// replaced is a thing that is not made, for something else has its place.
type replaced string

func (replaced) Close() error                   { return nil }
func (replaced) ContentFile() (*os.File, error) { return nil, nil }

// dropped tells of what waited in a thing that is not made.
func (r *Restorer) dropped(name replaced, n int64) {
	r.Note("%d bytes that waited in %s are lost, for something else takes its place", n, string(name))
}

// restoreFile opens a description. One that is closed is nil.
func (r *Restorer) restoreFile(rec *stream.Record, objref uint64) (*file, error) {
	s, err := decode[stream.File](rec)
	if err != nil {
		return nil, err
	}
	if sub := r.plan.files[objref]; sub != nil {
		if sub.closes() {
			return nil, nil
		}
		f, err := r.keep(sub.open())
		return &file{f: f}, err
	}
	if obj, err := r.Hash.Get(s.Refs.Inode); err == nil {
		if _, ok := obj.(*procFile); ok {
			return &file{s: s}, nil
		}
	}
	f, err := r.keep(r.openFile(s))
	if err != nil {
		return nil, err
	}
	if s.Owner != nil {
		if r.async == nil {
			r.async = map[uint64]bool{}
		}
		r.owned = append(r.owned, owned{f, s})
		if s.Flags&unix.O_ASYNC != 0 {
			r.async[objref] = true
		}
	}
	return &file{f: f}, nil
}

// openFile opens what a FILE record describes, at its position. O_ASYNC is set
// when a task has it.
func (r *Restorer) openFile(s *stream.File) (*os.File, error) {
	f, err := r.Open(s.Refs.Inode, int(s.Flags&fileFlags))
	if err != nil {
		return nil, err
	}
	pos, err := r.grown(s, f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if s.Flags&unix.O_PATH == 0 && pos != 0 {
		if _, err := unix.Seek(int(f.Fd()), pos, io.SeekStart); err != nil && !errors.Is(err, unix.ESPIPE) {
			return nil, errors.Join(fmt.Errorf("seek to %d in %s: %w", pos, f.Name(), err), f.Close())
		}
	}
	return f, nil
}

// owned is a description that sends signals to somebody.
type owned struct {
	f *depot.File
	s *stream.File
}

// SetOwners tells descriptions whom to send signals to, once all tasks exist.
func (r *Restorer) SetOwners() error {
	for _, o := range r.owned {
		if err := r.setOwner(o.f, o.s); err != nil {
			return err
		}
	}
	return nil
}

// Finish completes objects when all contents are in.
func (r *Restorer) Finish(objrefs []uint64) error {
	for _, ref := range objrefs {
		obj, err := r.Hash.Get(ref)
		if err != nil {
			return err
		}
		if o, ok := obj.(interface{ Finish() error }); ok {
			if err := o.Finish(); err != nil {
				return err
			}
		}
	}
	return nil
}

// Install gives a puppet, which has none, its descriptors, in ascending order.
func (r *Restorer) Install(p *tracee.Puppet, fds []stream.FD) error {
	fds = r.plan.left(fds)
	numbers := make([]int, len(fds))
	for i := range fds {
		numbers[i] = fds[i].FD
	}
	if err := reserve(p, numbers); err != nil {
		return err
	}
	for i := range fds {
		fd := &fds[i]
		if r.late(fd.Refs.File) {
			r.later = append(r.later, laterFD{p, *fd})
			continue
		}
		if err := r.install(p, fd); err != nil {
			return err
		}
		if !r.async[fd.Refs.File] {
			continue
		}
		delete(r.async, fd.Refs.File)
		if err := beAsync(p, fd.FD); err != nil {
			return err
		}
	}
	return nil
}

// laterFD is a descriptor that is placed when all others are.
type laterFD struct {
	p  *tracee.Puppet
	fd stream.FD
}

// InstallLate places the descriptors that Install left out, when it was called
// for all tables: those in /proc/PID/fdinfo last, which are there when the
// descriptor is.
func (r *Restorer) InstallLate() error {
	slices.SortStableFunc(r.later, func(a, b laterFD) int { return r.rank(&a.fd) - r.rank(&b.fd) })
	for i := range r.later {
		if err := r.install(r.later[i].p, &r.later[i].fd); err != nil {
			return err
		}
	}
	return nil
}

func (r *Restorer) rank(fd *stream.FD) int {
	obj, err := r.Hash.Get(fd.Refs.File)
	if f, ok := obj.(*file); err == nil && ok && f.s != nil {
		if in, err := r.Hash.Get(f.s.Refs.Inode); err == nil {
			if p, ok := in.(*procFile); ok && strings.Contains(p.path, "/fdinfo/") {
				return 1
			}
		}
	}
	return 0
}

// reserve makes room in a puppet for descriptors of these numbers, and keeps them
// free of the one it fetches them by: that gets the number behind the last, or when
// the limit is there, the first gap.
func reserve(p *tracee.Puppet, numbers []int) error {
	free := 0
	for _, n := range numbers {
		free = max(free, n+1)
	}
	if raiseLimit(p.Tracee().PID, uint64(free)+8) <= uint64(free) {
		used := map[int]bool{}
		for _, n := range numbers {
			used[n] = true
		}
		for free = 0; used[free]; {
			free++
		}
	}
	return p.Reserve(free)
}

// raiseLimit makes room for n descriptors, as far as we may, and returns for how
// many there is room. The process gets its own limits later.
func raiseLimit(pid int, n uint64) uint64 {
	lim := unix.Rlimit{}
	if unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &lim) != nil || lim.Cur >= n {
		return lim.Cur
	}
	for _, most := range []uint64{n, lim.Max} { // more than the hard limit takes CAP_SYS_RESOURCE
		cur := min(n, most)
		if unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: cur, Max: max(most, lim.Max)}, nil) == nil {
			return cur
		}
	}
	return lim.Cur
}

func (r *Restorer) install(p *tracee.Puppet, fd *stream.FD) error {
	source, err := r.plan.descriptor(r, fd)
	if err != nil {
		return err
	}
	n, err := give(p, source)
	if err != nil {
		return err
	}
	cloexec := uint64(0)
	if fd.Cloexec {
		cloexec = unix.O_CLOEXEC
	}
	what := fmt.Sprintf("place descriptor %d", fd.FD)
	if n == fd.FD { // pidfd_getfd(2) sets FD_CLOEXEC
		return tracee.CallOK(p, what, unix.SYS_FCNTL, uint64(n), unix.F_SETFD, cloexec/unix.O_CLOEXEC)
	}
	if err := tracee.CallOK(p, what, unix.SYS_DUP3, uint64(n), uint64(fd.FD), cloexec); err != nil {
		return err
	}
	return tracee.CallOK(p, "close", unix.SYS_CLOSE, uint64(n))
}

// Check says what of the objects and descriptors can't be restored.
func (r *Restorer) Check(objects []*stream.Record, fds []stream.FD) []error {
	var errs, more []error
	if !r.Paper {
		r.plan, more = r.makePlan(objects, fds)
	}
	for _, rec := range objects {
		var o stream.Object
		if k := Find(rec.Type); k != nil && rec.Decode(&o) == nil {
			if _, ok := r.plan.unneeded[o.Objref]; !ok {
				errs = append(errs, k.Check(r, rec)...)
			}
		}
		if rec.Type == stream.TypeFile {
			errs = append(errs, checkFile(rec)...)
		}
	}
	return append(errs, more...)
}

// checkFile says what of a description can't be. Positions may be anything: a
// folder's are what its file system likes.
func checkFile(rec *stream.Record) []error {
	f, err := decode[stream.File](rec)
	if err != nil {
		return []error{err}
	}
	const lastOwner, lastSignal = 2, 64 // F_OWNER_PGRP, _NSIG
	if o := f.Owner; f.Sig < 0 || f.Sig > lastSignal || o != nil && (o.Type < 0 || o.Type > lastOwner || o.PID < 0 || o.PID > maxPID) {
		return []error{fmt.Errorf("%w: an open file description with signal %d and owner %+v", stream.ErrCorrupt, f.Sig, f.Owner)}
	}
	return nil
}

// CheckTable says what in a table of descriptors, in ascending order, can't be.
func CheckTable(fds []stream.FD, locks []stream.Lock, targets []stream.EpollTarget) (errs []error) {
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: "+format, append([]any{stream.ErrCorrupt}, args...)...))
	}
	for i, fd := range fds {
		if fd.FD < 0 || fd.FD > maxFD || i > 0 && fd.FD == fds[i-1].FD {
			bad("descriptor %d, which there can't be, or which stands twice", fd.FD)
		}
	}
	for _, l := range locks {
		if l.FD < 0 || l.FD > maxFD || l.Start < 0 || l.Len < 0 || l.Kind != stream.LockFlock && l.Kind != stream.LockOFD && l.Kind != stream.LockPosix {
			bad("lock of kind %q on descriptor %d, of %d bytes from %d on", l.Kind, l.FD, l.Len, l.Start)
		}
	}
	for _, t := range targets {
		if t.FD < 0 || t.FD > maxFD {
			bad("target of an epoll added as descriptor %d", t.FD)
		}
	}
	return errs
}

// Here says which capabilities it takes to make these that Own lacks.
func (r *Restorer) Here(objects []*stream.Record) (errs []error) {
	for _, rec := range objects {
		var o stream.Object
		k := Find(rec.Type)
		switch {
		case rec.Type == stream.TypeFile:
			errs = append(errs, r.ownerHere(rec)...)
		case k == nil || k.Here == nil || rec.Decode(&o) != nil:
		default:
			if _, ok := r.plan.unneeded[o.Objref]; !ok {
				errs = append(errs, k.Here(r, rec)...)
			}
		}
	}
	return errs
}

// maxFD bounds descriptor numbers as fs.nr_open does by default.
const maxFD = 1 << 20
