// Package caps says which capabilities(7) something needs that this process
// lacks, and what for.
package caps

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/sys"
)

// Set is a set of capabilities, bit n for capability n.
type Set uint64

// Of is the set of these.
func Of(list ...int) (s Set) {
	for _, c := range list {
		s |= 1 << c
	}
	return s
}

// Has reports whether all of the other set are in it.
func (s Set) Has(all Set) bool { return s&all == all }

// names in the order of uapi linux/capability.h.
var names = [...]string{
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE",
	"NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT",
	"SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE",
	"AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ",
	"PERFMON", "BPF", "CHECKPOINT_RESTORE",
}

func name(c int) string {
	if c < len(names) {
		return "CAP_" + names[c]
	}
	return fmt.Sprintf("capability %d", c)
}

// String lists the set in words.
func (s Set) String() string {
	const most = 5
	var list []string
	for ; s != 0; s &= s - 1 {
		if len(list) == most-1 && bits.OnesCount64(uint64(s)) > 1 {
			list = append(list, fmt.Sprintf("%d more", bits.OnesCount64(uint64(s))))
			break
		}
		list = append(list, name(bits.TrailingZeros64(uint64(s))))
	}
	if n := len(list); n > 1 {
		return strings.Join(list[:n-1], ", ") + " and " + list[n-1]
	}
	return strings.Join(list, "")
}

// Missing is an error: capabilities that this process lacks.
type Missing struct {
	Set    Set
	To     string // what they are needed for, with %s for Who
	Who    string // whom or what it is about: "pid 7 (sh)"; may be empty
	others int    // who else, see Merge
	Tip    string // what to do instead, may be empty
}

func (m *Missing) Error() string {
	are, to := "is", m.To
	if bits.OnesCount64(uint64(m.Set)) > 1 {
		are = "are"
	}
	if m.Who != "" {
		who := m.Who
		switch {
		case m.others == 1:
			who += " and another"
		case m.others > 1:
			who += fmt.Sprintf(" and %d others", m.others)
		}
		to = fmt.Sprintf(m.To, who)
	}
	return fmt.Sprintf("%v %s missing, which %s needed to %s", m.Set, are, are, to)
}

// Hint says what to do about it.
func (m *Missing) Hint() string {
	if m.Tip != "" {
		return m.Tip
	}
	return "run it as root, or with what is missing: CAPABILITIES in its manual page says what needs which"
}

// Is makes it a kind of permission error.
func (m *Missing) Is(err error) bool { return err == os.ErrPermission }

// Merge makes one error of those that say the same of several processes.
func Merge(errs []error) []error {
	type about struct {
		set Set
		to  string
	}
	var merged []error
	first := map[about]*Missing{}
	seen := map[about]map[string]bool{}
	for _, err := range errs {
		var m *Missing
		if !errors.As(err, &m) || m != err {
			merged = append(merged, err)
			continue
		}
		key := about{m.Set, m.To}
		if first[key] == nil {
			all := *m
			first[key], seen[key] = &all, map[string]bool{}
			merged = append(merged, &all)
		} else if !seen[key][m.Who] {
			first[key].others++
		}
		seen[key][m.Who] = true
	}
	return merged
}

// Process is the privilege that a process has.
type Process struct {
	proc.Status
	Securebits uint32
	// UserNS: it is in a user namespace of its own, and its capabilities are only for
	// what belongs to that, see InUserNS.
	UserNS bool
}

// UserNSSet are the capabilities that ckpt-apply takes with it into a user
// namespace that it makes.
var UserNSSet = Of(unix.CAP_SETPCAP, unix.CAP_SYS_CHROOT, unix.CAP_SYS_PTRACE, unix.CAP_SYS_ADMIN, unix.CAP_SYS_TIME, unix.CAP_CHECKPOINT_RESTORE)

// InUserNS returns the privilege that a process will have in a user namespace that it makes.
// It keeps its supplementary groups, which have no names there.
func (p *Process) InUserNS() *Process {
	a := *p
	a.UserNS, a.Securebits = true, 0
	for i := range a.Uid {
		a.Uid[i], a.Gid[i] = p.Uid[1], p.Gid[1]
	}
	has := uint64(UserNSSet)
	a.CapInh, a.CapPrm, a.CapEff, a.CapAmb, a.CapBnd = has, has, has, has, 1<<(lastCap()+1)-1
	return &a
}

// lastCap is the highest capability of the running kernel.
func lastCap() int {
	n, err := proc.ReadSysctl("kernel/cap_last_cap")
	if err != nil {
		return unix.CAP_LAST_CAP
	}
	return int(n)
}

// Own returns that of this process.
func Own() (*Process, error) {
	status, err := proc.ReadStatus(os.Getpid())
	if err != nil {
		return nil, err
	}
	if status.Groups, err = sys.Groups(); err != nil {
		return nil, err
	}
	b, err := unix.PrctlRetInt(unix.PR_GET_SECUREBITS, 0, 0, 0, 0)
	if err != nil {
		return nil, os.NewSyscallError("prctl", err)
	}
	return &Process{Status: status, Securebits: uint32(b)}, nil
}

// Need returns a Missing, in a list, if this process lacks one of set.
func (p *Process) Need(set Set, who, to string) []error {
	return need(set&^Set(p.CapEff), who, to)
}

func need(lacks Set, who, to string) []error {
	if lacks == 0 {
		return nil
	}
	return []error{&Missing{Set: lacks, To: to, Who: who}}
}

// NeedHost is Need for what belongs to the namespaces that were there before.
func (p *Process) NeedHost(set Set, who, to string) []error { return need(set&^p.Host(), who, to) }

// Host are the effective capabilities that count for what belongs to the namespaces that
// were there before.
func (p *Process) Host() Set {
	if p.UserNS {
		return 0
	}
	return Set(p.CapEff)
}

// NeedID is Need for choosing process ids: it asks the kernel, since what counts
// is the owner of the pid namespace.
func (p *Process) NeedID(pid int) []error {
	if p.UserNS || sys.MayChooseIDs() {
		return nil
	}
	return []error{&Missing{Set: Of(unix.CAP_CHECKPOINT_RESTORE), To: fmt.Sprintf("choose the process id %d", pid),
		Tip: "without it, namespaces of its own will do: ckpt-apply --pids namespace"}}
}
