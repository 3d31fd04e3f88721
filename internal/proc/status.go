package proc

import (
	"slices"
	"strconv"
	"strings"
)

// Status is /proc/PID/status (proc_pid_status(5), fs/proc/array.c). Sizes are
// bytes, and 0 for a task without an address space.
type Status struct {
	Name      string
	Umask     uint32
	State     byte // as in Stat
	Tgid      int
	Pid       int // the thread's id
	PPid      int
	TracerPid int
	Uid, Gid  [4]uint32 // real, effective, saved, file system
	Groups    []uint32

	// Ids in each pid namespace from the reader's down to the task's own.
	NStgid, NSpid, NSpgid, NSsid []int

	VmSize, VmLck, VmPin, VmRSS, RssAnon, VmSwap uint64
	HugetlbPages                                 uint64

	CoreDumping bool
	// THPEnabled is false if prctl(PR_SET_THP_DISABLE) is in force, and true
	// where the kernel does not tell.
	THPEnabled bool
	Threads    int

	// Signal sets; bit n-1 stands for signal n. SigPnd is the thread's,
	// ShdPnd the process's.
	SigPnd, ShdPnd, SigBlk, SigIgn, SigCgt uint64
	// Capability sets; bit n stands for capability n.
	CapInh, CapPrm, CapEff, CapBnd, CapAmb uint64

	NoNewPrivs     bool
	Seccomp        int // 0 none, 1 strict, 2 filter
	SeccompFilters int // 0 also where the kernel does not tell (before 5.9)

	// Texts of prctl(PR_GET_SPECULATION_CTRL), such as "thread vulnerable".
	SpecStoreBypass, SpecIndirectBranch string
	// X86Features are those of arch_prctl(ARCH_SHSTK_STATUS): "shstk", "wrss".
	X86Features []string
}

// ReadStatus reads the status of a process, that is of its first thread.
func ReadStatus(pid int) (Status, error) {
	return readParsed(pid, Path(pid, "status"), ParseStatus)
}

// ReadThreadStatus reads the status of one thread of a process.
func ReadThreadStatus(pid, tid int) (Status, error) {
	return here.ReadThreadStatus(pid, tid)
}

// ReadThreadStatus is the function of that name.
func (v View) ReadThreadStatus(pid, tid int) (Status, error) {
	return readParsed(pid, v.threadPath(pid, tid, "status"), ParseStatus)
}

// ParseStatus parses the text of a status file. Lines it does not know are
// skipped; Tgid, Pid, Uid and Gid must be there.
func ParseStatus(b []byte) (Status, error) {
	s := Status{THPEnabled: true}
	var found [len(statusNeeds)]bool
	for line := range strings.SplitSeq(string(b), "\n") {
		key, value, ok := strings.Cut(line, ":")
		set := statusFields[key]
		if !ok || set == nil {
			continue
		}
		if !set(&s, strings.TrimLeft(value, "\t ")) {
			return Status{}, malformed("status line", []byte(line))
		}
		if i := slices.Index(statusNeeds[:], key); i >= 0 {
			found[i] = true
		}
	}
	if i := slices.Index(found[:], false); i >= 0 {
		return Status{}, malformed("status without "+statusNeeds[i], b)
	}
	return s, nil
}

// statusNeeds are the lines without which a status is none.
var statusNeeds = [...]string{"Tgid", "Pid", "Uid", "Gid"}

// statusFields says what each line sets; false means the value is malformed.
var statusFields = map[string]func(*Status, string) bool{
	"Name":            func(s *Status, v string) bool { s.Name = unescapeComm(v); return true },
	"Umask":           func(s *Status, v string) bool { return setUint(&s.Umask, v, 8) },
	"State":           func(s *Status, v string) bool { return setState(&s.State, v) },
	"Tgid":            func(s *Status, v string) bool { return setInt(&s.Tgid, v) },
	"Pid":             func(s *Status, v string) bool { return setInt(&s.Pid, v) },
	"PPid":            func(s *Status, v string) bool { return setInt(&s.PPid, v) },
	"TracerPid":       func(s *Status, v string) bool { return setInt(&s.TracerPid, v) },
	"Uid":             func(s *Status, v string) bool { return setIDs(&s.Uid, v) },
	"Gid":             func(s *Status, v string) bool { return setIDs(&s.Gid, v) },
	"Groups":          func(s *Status, v string) bool { return setGroups(&s.Groups, v) },
	"NStgid":          func(s *Status, v string) bool { return setInts(&s.NStgid, v) },
	"NSpid":           func(s *Status, v string) bool { return setInts(&s.NSpid, v) },
	"NSpgid":          func(s *Status, v string) bool { return setInts(&s.NSpgid, v) },
	"NSsid":           func(s *Status, v string) bool { return setInts(&s.NSsid, v) },
	"VmSize":          func(s *Status, v string) bool { return setKB(&s.VmSize, v) },
	"VmLck":           func(s *Status, v string) bool { return setKB(&s.VmLck, v) },
	"VmPin":           func(s *Status, v string) bool { return setKB(&s.VmPin, v) },
	"VmRSS":           func(s *Status, v string) bool { return setKB(&s.VmRSS, v) },
	"RssAnon":         func(s *Status, v string) bool { return setKB(&s.RssAnon, v) },
	"VmSwap":          func(s *Status, v string) bool { return setKB(&s.VmSwap, v) },
	"HugetlbPages":    func(s *Status, v string) bool { return setKB(&s.HugetlbPages, v) },
	"CoreDumping":     func(s *Status, v string) bool { return setBool(&s.CoreDumping, v) },
	"THP_enabled":     func(s *Status, v string) bool { return setBool(&s.THPEnabled, v) },
	"Threads":         func(s *Status, v string) bool { return setInt(&s.Threads, v) },
	"SigPnd":          func(s *Status, v string) bool { return setUint(&s.SigPnd, v, 16) },
	"ShdPnd":          func(s *Status, v string) bool { return setUint(&s.ShdPnd, v, 16) },
	"SigBlk":          func(s *Status, v string) bool { return setUint(&s.SigBlk, v, 16) },
	"SigIgn":          func(s *Status, v string) bool { return setUint(&s.SigIgn, v, 16) },
	"SigCgt":          func(s *Status, v string) bool { return setUint(&s.SigCgt, v, 16) },
	"CapInh":          func(s *Status, v string) bool { return setUint(&s.CapInh, v, 16) },
	"CapPrm":          func(s *Status, v string) bool { return setUint(&s.CapPrm, v, 16) },
	"CapEff":          func(s *Status, v string) bool { return setUint(&s.CapEff, v, 16) },
	"CapBnd":          func(s *Status, v string) bool { return setUint(&s.CapBnd, v, 16) },
	"CapAmb":          func(s *Status, v string) bool { return setUint(&s.CapAmb, v, 16) },
	"NoNewPrivs":      func(s *Status, v string) bool { return setBool(&s.NoNewPrivs, v) },
	"Seccomp":         func(s *Status, v string) bool { return setInt(&s.Seccomp, v) },
	"Seccomp_filters": func(s *Status, v string) bool { return setInt(&s.SeccompFilters, v) },
	"Speculation_Store_Bypass": func(s *Status, v string) bool {
		s.SpecStoreBypass = v
		return true
	},
	"SpeculationIndirectBranch": func(s *Status, v string) bool {
		s.SpecIndirectBranch = v
		return true
	},
	"x86_Thread_features": func(s *Status, v string) bool {
		s.X86Features = strings.Fields(v)
		return true
	},
}

// commUnescaper undoes what proc_task_name does to the name in status only:
// newline and backslash are escaped.
var commUnescaper = strings.NewReplacer(`\n`, "\n", `\\`, `\`)

func unescapeComm(s string) string { return commUnescaper.Replace(s) }

func setState(to *byte, v string) bool {
	if v == "" {
		return false
	}
	*to = v[0]
	return true
}

func setInt(to *int, v string) bool {
	n, err := strconv.Atoi(strings.TrimSpace(v))
	*to = n
	return err == nil
}

func setUint[T uint32 | uint64](to *T, v string, base int) bool {
	n, err := strconv.ParseUint(strings.TrimSpace(v), base, 64)
	*to = T(n)
	return err == nil && uint64(*to) == n
}

// setBool takes 0 and 1.
func setBool(to *bool, v string) bool {
	*to = v == "1"
	return v == "0" || v == "1"
}

// setKB takes "    3060 kB" and sets bytes.
func setKB(to *uint64, v string) bool {
	v, ok := strings.CutSuffix(strings.TrimSpace(v), " kB")
	n, err := strconv.ParseUint(strings.TrimSpace(v), 10, 64)
	*to = n << 10
	return ok && err == nil && n < 1<<54
}

func setInts(to *[]int, v string) bool {
	words := strings.Fields(v)
	*to = make([]int, len(words))
	for i, w := range words {
		if !setInt(&(*to)[i], w) {
			return false
		}
	}
	return true
}

func setGroups(to *[]uint32, v string) bool {
	words := strings.Fields(v)
	*to = make([]uint32, len(words))
	for i, w := range words {
		if !setUint(&(*to)[i], w, 10) {
			return false
		}
	}
	return true
}

func setIDs(to *[4]uint32, v string) bool {
	words := strings.Fields(v)
	if len(words) != len(to) {
		return false
	}
	for i, w := range words {
		if !setUint(&to[i], w, 10) {
			return false
		}
	}
	return true
}
