package task

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
	"ckpt/internal/caps"
	"ckpt/internal/proc"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

const (
	sockFilterBytes = 8
	maxInstructions = 4096  // BPF_MAXINSNS, of one filter
	maxOnPath       = 32768 // MAX_INSNS_PER_PATH, of all filters of a thread
	filterPenalty   = 4     // added for each filter, see seccomp_attach_filter
)

// seccomp: how each thread is confined. It is restored before credentials, because
// installing a filter takes CAP_SYS_ADMIN or no_new_privs, and the program need
// have neither any more; from there on the puppets' seccomp is suspended, see
// SuspendSeccomp. All threads must exist by then, and no more tasks may be made:
// they would inherit it.
var seccomp = row[record.Seccomp]{
	Type:    record.TypeSeccomp,
	Collect: collectSeccomp,
	Check:   checkSeccomp,
	Here:    seccompHere,
	Restore: restoreSeccomp,
}.resource()

// SuspendSeccomp must be called for each thread before a system call is made in
// it. Its error is a reason not to save the process.
//
// If ckpt-collect is killed during a Loan, seccomp is in force again on the way
// home, where the thread calls munmap and rt_sigprocmask. A thread in strict mode,
// or whose filters kill it for one of those calls, is lost then. Nothing in the
// kernel allows us to prevent that: only that call can restore the signal mask, or
// rt_sigreturn, which needs a whole signal frame, and there is none. The filters
// of service managers, containers and browsers allow both calls. A thread that
// would be lost is on loan only while it is described, a few ms, and its pages are
// copied; the user is told of it, see goesHome.
func SuspendSeccomp(t *tracee.Tracee, f *Facts) error {
	if f.Status.Seccomp == unix.SECCOMP_MODE_DISABLED {
		return nil
	}
	err := t.SuspendSeccomp()
	if tracee.Errno(err) == unix.EPERM {
		return errors.New("is confined by seccomp: saving it takes CAP_SYS_ADMIN, and a ckpt-collect that is not itself confined by seccomp")
	}
	return err
}

func collectSeccomp(c *Collector) error {
	var err error
	rec := record.Seccomp{PID: c.PID, TID: c.TID, Mode: c.Facts.Status.Seccomp}
	switch rec.Mode {
	case unix.SECCOMP_MODE_DISABLED:
		return nil
	case unix.SECCOMP_MODE_FILTER:
		rec.Filters, err = filtersOf(c.PID, c.TID)
		if err == nil {
			rec.Common, err = c.commonFilters()
		}
	}
	switch {
	case tracee.Errno(err) == unix.EACCES:
		c.Block(errors.New("is confined by seccomp filters: reading them takes CAP_SYS_ADMIN, and a ckpt-collect that is not itself confined by seccomp"))
		return nil
	case tracee.Errno(err) == unix.EMEDIUMTYPE:
		c.Block(errors.New("is confined by a seccomp filter that is not classic BPF, which can't be saved"))
		return nil
	case err != nil:
		return err
	}
	if slices.ContainsFunc(rec.Filters, notifies) {
		c.Block(errors.New("is confined by a seccomp filter that asks another program (SECCOMP_RET_USER_NOTIF), and their connection can't be saved"))
	}
	if rec.Mode == unix.SECCOMP_MODE_STRICT || !goesHome(rec.Filters) {
		c.Note("pid %d is confined so tightly by seccomp that it would be lost if ckpt-collect were killed by SIGKILL just now", c.TID)
	}
	return c.Emit(record.TypeSeccomp, &rec)
}

func filtersOf(pid, tid int) ([]record.SeccompFilter, error) {
	list, err := (&tracee.Tracee{PID: pid, TID: tid}).SeccompFilters()
	if err != nil {
		return nil, err
	}
	all := make([]record.SeccompFilter, len(list))
	for i, f := range list {
		all[i] = record.SeccompFilter{Flags: f.Flags, Program: f.Program}
	}
	return all, nil
}

// commonFilters returns how many filters, from the first on, all threads of the
// process have in common. We trace all of them.
func (c *Collector) commonFilters() (int, error) {
	if n := c.Notes.commonFilters; n != nil {
		return *n, nil
	}
	tids, err := proc.Threads(c.PID)
	if err != nil {
		return 0, err
	}
	common, err := filtersOf(c.PID, c.TID)
	if err != nil {
		return 0, err
	}
	for _, tid := range tids {
		if f := c.FactsOf(tid); f.ended() { // of its filters only the number can be read
			common = common[:min(len(common), f.Status.SeccompFilters)]
			continue
		}
		its, err := filtersOf(c.PID, tid)
		if err != nil {
			return 0, err
		}
		common = common[:samePrefix(common, its)]
	}
	n := len(common)
	c.Notes.commonFilters = &n
	return n, nil
}

// samePrefix returns how many filters, from the first on, are the same in both.
func samePrefix(a, b []record.SeccompFilter) int {
	n := 0
	for n < min(len(a), len(b)) && a[n].Flags == b[n].Flags && bytes.Equal(a[n].Program, b[n].Program) {
		n++
	}
	return n
}

// notifies reports whether a filter has an instruction that returns
// SECCOMP_RET_USER_NOTIF.
func notifies(f record.SeccompFilter) bool {
	for insn := range slices.Chunk(f.Program, sockFilterBytes) {
		code, k := binary.LittleEndian.Uint16(insn), binary.LittleEndian.Uint32(insn[4:])
		if code == unix.BPF_RET|unix.BPF_K && k&unix.SECCOMP_RET_ACTION_FULL == unix.SECCOMP_RET_USER_NOTIF {
			return true
		}
	}
	return false
}

func checkSeccomp(s *record.Seccomp) []error {
	total := 0
	for _, f := range s.Filters {
		n := len(f.Program) / sockFilterBytes
		total += n + filterPenalty
		if n == 0 || n > maxInstructions || len(f.Program)%sockFilterBytes != 0 || f.Flags&^unix.SECCOMP_FILTER_FLAG_LOG != 0 {
			return []error{fmt.Errorf("%w: thread %d has a seccomp filter of %d bytes with flags %#x", stream.ErrCorrupt, s.TID, len(f.Program), f.Flags)}
		}
	}
	strict := s.Mode == unix.SECCOMP_MODE_STRICT && total == 0
	filter := s.Mode == unix.SECCOMP_MODE_FILTER && total > 0 && total <= maxOnPath
	if !strict && !filter || s.Common < 0 || s.Common > len(s.Filters) {
		return []error{fmt.Errorf("%w: thread %d has %d seccomp filters in mode %d", stream.ErrCorrupt, s.TID, len(s.Filters), s.Mode)}
	}
	return nil
}

func seccompHere(h *Host, s *record.Seccomp) []error {
	if h.Seccomp != 0 {
		return []error{fmt.Errorf("%s was confined by seccomp, which a ckpt-apply that is itself confined by seccomp can't restore", h.Who(s.PID))}
	}
	return h.Need(caps.Of(unix.CAP_SYS_ADMIN), h.Who(s.PID), "confine %s by seccomp again")
}

func restoreSeccomp(r *Restorer, s *record.Seccomp) error {
	if err := r.Puppet.SuspendSeccomp(); err != nil {
		return err
	}
	if s.Mode == unix.SECCOMP_MODE_STRICT {
		r.prctl("confine it by seccomp", unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_STRICT)
		return nil
	}
	has, err := filtersOf(s.PID, s.TID)
	if err != nil {
		return err
	}
	if samePrefix(s.Filters, has) != len(has) {
		return fmt.Errorf("pid %d: a seccomp filter common to its threads is not one of thread %d's", s.PID, s.TID)
	}
	for i := len(has); i < len(s.Filters); i++ {
		flags := s.Filters[i].Flags
		if i < s.Common {
			// All threads can be confined at once by filters that they share.
			flags |= unix.SECCOMP_FILTER_FLAG_TSYNC
		}
		if err := r.installFilter(flags, s.Filters[i].Program); err != nil {
			return fmt.Errorf("pid %d: install seccomp filter %d: %w", s.TID, i, err)
		}
	}
	return nil
}

// installFilter installs a filter in the puppet. Its memory gets struct sock_fprog,
// then the program.
func (r *Restorer) installFilter(flags uint64, program []byte) error {
	at := r.Puppet.Scratch().Addr
	buf := append(abi.Bytes(uint64(len(program)/sockFilterBytes), at+16), program...)
	if err := r.Puppet.Tracee().WriteMem(at, buf); err != nil {
		return err
	}
	n, err := r.Puppet.Call(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, at)
	if err == nil && n != 0 { // with SECCOMP_FILTER_FLAG_TSYNC it returns a thread instead of an error
		err = fmt.Errorf("thread %d has other filters", n)
	}
	return err
}
