package collect

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/cli"
	"ckpt/internal/memory"
	"ckpt/internal/proc"
	"ckpt/internal/repair"
)

// rights returns an error for everything that saving the tree takes and this user may not
// do, before anything is stopped. If that changes in the meantime, it is found later.
func rights(o *Options) error {
	own, err := caps.Own()
	if err != nil {
		return err
	}
	e := &examiner{own: own, leave: o.Leave}
	e.tree(o.PID, map[int]bool{})
	if o.TCP == TCPKeep {
		e.tcp()
	}
	if len(e.lacks) == 0 {
		return nil
	}
	return &denied{caps.Merge(e.lacks)}
}

// denied lists what this user may not do.
type denied struct{ reasons []error }

func (d *denied) Error() string   { return errors.Join(d.reasons...).Error() }
func (d *denied) Unwrap() []error { return d.reasons }

// examiner asks the kernel about each process of a tree.
type examiner struct {
	own   *caps.Process
	leave string
	lacks []error
}

func (e *examiner) tree(pid int, seen map[int]bool) {
	if seen[pid] {
		return
	}
	seen[pid] = true
	status, err := proc.ReadStatus(pid)
	if err != nil {
		return // it has ended
	}
	if at := proc.Living(pid); at != pid || status.State != 'Z' && status.State != 'X' {
		e.process(pid, at, &status)
	}
	children, _ := proc.Children(pid)
	for _, child := range children {
		e.tree(child, seen)
	}
}

// tcp asks whether TCP connections can be kept.
func (e *examiner) tcp() {
	if !caps.Set(e.own.CapEff).Has(caps.Of(unix.CAP_NET_ADMIN)) {
		e.lacks = append(e.lacks, &caps.Missing{Set: caps.Of(unix.CAP_NET_ADMIN), To: "keep TCP connections", Tip: "have them reset when it is restored: --tcp reset"})
	} else if err := repair.Secure(); err != nil {
		e.lacks = append(e.lacks, cli.WithHint(fmt.Errorf("TCP connections can't be kept by a ckpt-collect that has its capabilities by its file, see setcap(8), and so by everybody who starts it: %w", err),
			"run it as root, or give it ambient capabilities, see setpriv(1)"))
	} else if err := repair.Possible(); err != nil {
		e.lacks = append(e.lacks, cli.WithHint(fmt.Errorf("TCP connections can't be kept: %w", err), "have them reset when it is restored: --tcp reset"))
	}
}

// distrust finds the processes that have no CAP_NET_ADMIN. From them, others of their user can
// get TCP connections that are kept while our CAP_NET_ADMIN is at work in these, and from the
// others nobody who has not got it himself, see ptrace(2).
func (d *description) distrust() error {
	own, err := ownNamespaces()
	if err != nil || d.files.Keep == nil || d.trusts {
		return err
	}
	for _, p := range d.tree.procs {
		for _, t := range p.threads {
			f := d.facts[t.TID]
			if !caps.Set(f.Status.CapPrm).Has(caps.Of(unix.CAP_NET_ADMIN)) || f.Namespaces["user"] != own["user"] {
				d.files.Keep.Distrusted = append(d.files.Keep.Distrusted, p.pid)
				break
			}
		}
	}
	return nil
}

// process asks about one process, by way of a thread that has not ended.
func (e *examiner) process(pid, at int, status *proc.Status) {
	e.namespaces(at)
	if traceDenied(pid) {
		e.lacks = append(e.lacks, e.whyNoTrace(pid, status))
	}
	if filesDenied(at) {
		e.need(caps.Of(unix.CAP_DAC_READ_SEARCH), pid, "read the files in /proc of %s, of another user")
	}
	if do := map[string]string{LeaveKilled: "kill", LeaveStopped: "stop"}[e.leave]; do != "" && unix.Kill(pid, 0) == unix.EPERM {
		e.lacks = append(e.lacks, &caps.Missing{Set: caps.Of(unix.CAP_KILL), Who: proc.Named(pid),
			To: do + " %s, of another user", Tip: "leave it running: --leave running"})
	}
	if mapFilesDenied() && sharesMemory(at) {
		e.need(caps.Of(unix.CAP_CHECKPOINT_RESTORE), pid, "reach shared anonymous memory or System V segments of %s")
	}
	if its, err := proc.ReadThreadStatus(pid, at); err == nil && its.Seccomp != unix.SECCOMP_MODE_DISABLED {
		e.need(caps.Of(unix.CAP_SYS_ADMIN), pid, "save %s, which is confined by seccomp")
	}
}

// namespaces asks whether what is in a process's mount namespace can be looked at.
func (e *examiner) namespaces(pid int) {
	own, err := ownNamespaces()
	if err != nil {
		return // it will be said later
	}
	if its, err := proc.Namespace(pid, pid, "mnt"); err == nil && its != own["mnt"] {
		e.need(caps.Of(unix.CAP_SYS_ADMIN, unix.CAP_SYS_CHROOT), pid, "save %s, which is in a mount namespace of its own")
	}
}

func (e *examiner) need(set caps.Set, pid int, to string) {
	e.lacks = append(e.lacks, e.own.Need(set, proc.Named(pid), to)...)
}

// traceDenied reports whether this process may not trace another. It asks for a
// descriptor that nobody has by pidfd_getfd(2), which takes the same right.
func traceDenied(pid int) bool {
	const none = 1<<31 - 1
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false // it has ended
	}
	defer unix.Close(fd)
	_, err = unix.PidfdGetfd(fd, none, 0)
	return errors.Is(err, unix.EPERM)
}

// filesDenied reports whether this process may not open the files of another in proc(5),
// which belong to that process's user.
func filesDenied(pid int) bool {
	return errors.Is(unix.Faccessat(unix.AT_FDCWD, proc.Path(pid, "auxv"), unix.R_OK, unix.AT_EACCESS), unix.EACCES)
}

// sharesMemory reports whether a process has memory that only its links in
// /proc/PID/map_files lead to.
func sharesMemory(pid int) bool {
	list, _ := proc.ReadMaps(pid)
	return slices.ContainsFunc(list, func(m proc.Mapping) bool { return memory.IsNameless(&m) })
}

// mapFilesDenied reports whether we may not follow the links in /proc/PID/map_files, not
// even our own.
var mapFilesDenied = sync.OnceValue(func() bool {
	const dir = "/proc/self/map_files"
	list, err := os.ReadDir(dir)
	if err != nil || len(list) == 0 {
		return false
	}
	var st unix.Stat_t
	return unix.Stat(dir+"/"+list[0].Name(), &st) == unix.EPERM
})

// whyNoTrace says by which rule of ptrace(2) a process may not be traced.
func (e *examiner) whyNoTrace(pid int, status *proc.Status) error {
	if caps.Set(e.own.CapEff).Has(caps.Of(unix.CAP_SYS_PTRACE)) {
		return refused(pid, errors.New("may not be traced in spite of CAP_SYS_PTRACE: it is in a user namespace that is not below this one, or a security module is in the way"))
	}
	to := "trace %s"
	others := func(mine uint32, its [4]uint32) bool {
		return slices.ContainsFunc(its[:3], func(id uint32) bool { return id != mine })
	}
	var st unix.Stat_t
	err := unix.Stat(proc.Path(pid, "."), &st)
	scope := yamaScope("/proc/sys/kernel/yama/ptrace_scope")
	switch {
	case others(e.own.Uid[0], status.Uid) || others(e.own.Gid[0], status.Gid):
		to += ", of another user"
	case err == nil && st.Uid != status.Uid[1]:
		to += ", which is not dumpable, see PR_SET_DUMPABLE in prctl(2)"
	case status.CapPrm&^e.own.CapPrm != 0:
		to += ", which may do more than this process"
	case scope == "1" || scope == "2":
		to += ", because kernel.yama.ptrace_scope is " + scope
	case scope == "3":
		return refused(pid, errors.New("may not be traced by anybody, because kernel.yama.ptrace_scope is 3"))
	}
	return &caps.Missing{Set: caps.Of(unix.CAP_SYS_PTRACE), Who: proc.Named(pid), To: to}
}

// yamaScope says how far Yama, a security module, restricts tracing; "" if there is no
// Yama.
func yamaScope(file string) string {
	b, _ := os.ReadFile(file)
	return strings.TrimSpace(string(b))
}
