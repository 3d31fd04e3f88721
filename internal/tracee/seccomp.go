package tracee

import "golang.org/x/sys/unix"

// SeccompFilter is a filter that confines a thread, see seccomp(2).
type SeccompFilter struct {
	Program []byte // an array of struct sock_filter, with 8 bytes each
	Flags   uint64 // SECCOMP_FILTER_FLAG_LOG
}

// SeccompFilters returns the thread's filters in the order of installation.
// The error is EACCES without CAP_SYS_ADMIN, or under seccomp ourselves.
func (t *Tracee) SeccompFilters() ([]SeccompFilter, error) {
	var all []SeccompFilter
	for {
		program, flags, err := seccompFilter(t.TID, uint64(len(all)))
		switch err {
		case nil:
			all = append(all, SeccompFilter{program, flags})
		case unix.ENOENT:
			return all, nil
		case unix.EINVAL: // it is not in filter mode
			return nil, nil
		default:
			return nil, t.Wrap("read its seccomp filters", err)
		}
	}
}

// SuspendSeccomp lets the thread make any system call as long as we hold it; the kernel ends
// that when we let go or die. The thread must be in a stop of Seize. It takes CAP_SYS_ADMIN,
// and we must not be confined by seccomp ourselves.
func (t *Tracee) SuspendSeccomp() error {
	t.confined = true
	return t.Wrap("suspend seccomp", unix.PtraceSetOptions(t.TID, unix.PTRACE_O_TRACESYSGOOD|OptionSuspendSeccomp))
}

// Confined reports whether SuspendSeccomp was called.
func (t *Tracee) Confined() bool { return t.confined }
