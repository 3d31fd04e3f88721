package files

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/depot"
	"ckpt/internal/puppet"
	"ckpt/internal/tracee"
	"ckpt/stream/record"
)

// Empty closes all descriptors of a puppet and makes room for those that Install will
// give it.
func (r *Restorer) Empty(p *puppet.Puppet, fds []record.FD) error {
	return p.Empty(firstBehind(p, numbersOf(r.replacements.left(fds))))
}

func numbersOf(fds []record.FD) []int {
	numbers := make([]int, len(fds))
	for i := range fds {
		numbers[i] = fds[i].FD
	}
	return numbers
}

// Install gives its descriptors to a puppet that has none yet, in ascending order.
func (r *Restorer) Install(p *puppet.Puppet, fds []record.FD) error {
	fds = r.replacements.left(fds)
	reserved, err := reserve(p, numbersOf(fds))
	if err != nil {
		return err
	}
	t := &table{p: p, v: p.Vector(), taken: map[int]bool{reserved: true}}
	for i := range fds {
		fd := &fds[i]
		f := r.made(fd.Refs.File)
		if f != nil && f.Late() > 0 {
			r.later = append(r.later, laterFD{p, *fd, f.Late()})
			continue
		}
		if err := r.addInstall(t, fd); err != nil {
			return err
		}
		if f == nil || !f.async {
			continue
		}
		f.async = false
		if err := t.run(); err != nil {
			return err
		}
		if err := setAsync(p, fd.FD); err != nil {
			return err
		}
	}
	return t.run()
}

// table is a descriptor table that is being filled.
type table struct {
	p     *puppet.Puppet
	v     *puppet.Vector
	taken map[int]bool
	low   int // all numbers below it are taken
	given []given
}

// given is a descriptor that is fetched, and the number it must get, the lowest
// free one.
type given struct {
	call *puppet.VectorCall
	n    int
}

// addInstall adds the calls that install a descriptor. The lowest free number is
// not above its own.
func (r *Restorer) addInstall(t *table, fd *record.FD) error {
	source, err := r.replacements.descriptor(r, fd)
	if err != nil {
		return err
	}
	ours, err := source.Fd()
	if err != nil {
		return err
	}
	for t.taken[t.low] {
		t.low++
	}
	what := fmt.Sprintf("install descriptor %d", fd.FD)
	n := t.p.GiveIn(t.v, ours)
	t.given = append(t.given, given{n, t.low})
	t.taken[fd.FD] = true
	switch {
	case t.low != fd.FD:
		t.v.Add(what, unix.SYS_DUP3, 0, uint64(fd.FD), cloexec(fd)).From(0, n)
		t.v.Add("close", unix.SYS_CLOSE, 0).From(0, n)
	case !fd.Cloexec: // pidfd_getfd(2) sets FD_CLOEXEC
		t.v.Add(what, unix.SYS_FCNTL, 0, unix.F_SETFD, 0).From(0, n)
	}
	if len(t.given) >= r.Depot.Together() {
		return t.run()
	}
	return nil
}

// run makes the calls that were added so far.
func (t *table) run() error {
	if err := t.v.Run(); err != nil {
		return err
	}
	for _, g := range t.given {
		if n, err := g.call.Result(); err != nil || int(n) != g.n {
			return fmt.Errorf("pid %d: a descriptor got the number %d, not %d, the lowest free", t.p.Tracee().PID, n, g.n)
		}
	}
	t.given = t.given[:0]
	return nil
}

func cloexec(fd *record.FD) uint64 {
	if fd.Cloexec {
		return unix.O_CLOEXEC
	}
	return 0
}

// laterFD is a descriptor that is installed after all others.
type laterFD struct {
	p    *puppet.Puppet
	fd   record.FD
	when int
}

// InstallLate installs the descriptors that Install left out, once it was called
// for all tables.
func (r *Restorer) InstallLate() error {
	slices.SortStableFunc(r.later, func(a, b laterFD) int { return a.when - b.when })
	for i := range r.later {
		if err := r.installOne(r.later[i].p, &r.later[i].fd); err != nil {
			return err
		}
	}
	return nil
}

// reserve makes room in a puppet for descriptors of these numbers, and moves the
// pidfd by which it fetches them (see Puppet.Reserve) out of their way: behind the
// last of them or, if the limit doesn't allow that, into the first gap. It returns
// the number of the pidfd.
func reserve(p *puppet.Puppet, numbers []int) (pidfd int, err error) {
	free := firstBehind(p, numbers)
	if now := p.Reserved(); now >= free && !slices.Contains(numbers, now) {
		return now, nil
	}
	return p.Reserve(free)
}

// firstBehind returns the first number behind those, or the first that is none of them if
// the limit doesn't allow that.
func firstBehind(p *puppet.Puppet, numbers []int) (free int) {
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
	return free
}

// raiseLimit raises RLIMIT_NOFILE to n, as far as we may, and returns what it is
// now. The process gets its own limits later.
func raiseLimit(pid int, n uint64) uint64 {
	lim := unix.Rlimit{}
	if unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &lim) != nil || lim.Cur >= n {
		return lim.Cur
	}
	for _, most := range []uint64{n, lim.Max} { // exceeding the hard limit takes CAP_SYS_RESOURCE
		cur := min(n, most)
		if unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: cur, Max: max(most, lim.Max)}, nil) == nil {
			return cur
		}
	}
	return lim.Cur
}

// installOne installs a descriptor next to others.
func (r *Restorer) installOne(p *puppet.Puppet, fd *record.FD) error {
	source, err := r.replacements.descriptor(r, fd)
	if err != nil {
		return err
	}
	n, err := give(p, source)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("install descriptor %d", fd.FD)
	if n == fd.FD { // pidfd_getfd(2) sets FD_CLOEXEC
		return tracee.CallOK(p, what, unix.SYS_FCNTL, uint64(n), unix.F_SETFD, cloexec(fd)/unix.O_CLOEXEC)
	}
	if err := tracee.CallOK(p, what, unix.SYS_DUP3, uint64(n), uint64(fd.FD), cloexec(fd)); err != nil {
		return err
	}
	return tracee.CallOK(p, "close", unix.SYS_CLOSE, uint64(n))
}

// give copies a file into a puppet and returns its number there.
func give(p *puppet.Puppet, f *depot.File) (int, error) {
	fd, err := f.Fd()
	if err != nil {
		return -1, err
	}
	return p.Give(fd)
}
