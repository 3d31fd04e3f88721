package proc

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// ReadPersonality reads what personality(2) last set; the text is hexadecimal.
func ReadPersonality(pid int) (uint32, error) {
	v, err := readParsed(pid, Path(pid, "personality"), parseHex)
	return uint32(v), err
}

// ReadCoredumpFilter reads which mappings go to a core file (core(5)), a set of
// bits; the text is hexadecimal. A zombie has none: that is an error.
func ReadCoredumpFilter(pid int) (uint32, error) {
	v, err := readParsed(pid, Path(pid, "coredump_filter"), parseHex)
	return uint32(v), err
}

// ReadOOMScoreAdj reads the adjustment of the out-of-memory score, -1000 to 1000.
func ReadOOMScoreAdj(pid int) (int, error) {
	return readParsed(pid, Path(pid, "oom_score_adj"), parseDecimal)
}

// ReadTimerSlack reads the timer slack of a process's first thread in
// nanoseconds, 0 under a real-time policy. To read another's takes CAP_SYS_NICE.
func ReadTimerSlack(pid int) (uint64, error) {
	return readParsed(pid, Path(pid, "timerslack_ns"), func(b []byte) (uint64, error) {
		v, err := strconv.ParseUint(string(bytes.TrimSpace(b)), 10, 64)
		if err != nil {
			return 0, malformed("number", b)
		}
		return v, nil
	})
}

// ReadComm reads the name of a thread exactly as it was set.
func ReadComm(pid, tid int) (string, error) { return here.readComm(pid, tid) }

func (v View) readComm(pid, tid int) (string, error) {
	b, err := readFile(v.threadPath(pid, tid, "comm"))
	if err != nil {
		return "", ofPid(pid, err)
	}
	return string(bytes.TrimSuffix(b, []byte{'\n'})), nil
}

// Named names a process for people: pid 7 (sh).
func Named(pid int) string { return here.Named(pid) }

// Named names a process for people: pid 7 (sh).
func (v View) Named(pid int) string {
	comm, err := v.readComm(pid, pid)
	if err != nil {
		return fmt.Sprintf("pid %d", pid)
	}
	return fmt.Sprintf("pid %d (%s)", pid, comm)
}

// ReadCmdline reads the argument area as it is now: usually strings that each
// end in a NUL, but the process may have written anything there.
func ReadCmdline(pid int) ([]byte, error) { return readRaw(pid, "cmdline") }

// ReadAuxv reads the auxiliary vector the kernel keeps: pairs of machine words
// (getauxval(3)), the last of type AT_NULL.
func ReadAuxv(pid int) ([]byte, error) { return readRaw(pid, "auxv") }

func readRaw(pid int, name string) ([]byte, error) {
	b, err := readFile(Path(pid, name))
	if err != nil {
		return nil, ofPid(pid, err)
	}
	return b, nil
}

// Autogroup is the scheduling group of a session (sched(7)).
type Autogroup struct {
	ID   int64
	Nice int
}

// ReadAutogroup reads /proc/PID/autogroup, which is missing without
// CONFIG_SCHED_AUTOGROUP and empty for a task in another kind of group.
func ReadAutogroup(pid int) (Autogroup, error) {
	return readParsed(pid, Path(pid, "autogroup"), ParseAutogroup)
}

// ParseAutogroup parses "/autogroup-4 nice 0"; of an empty text it makes the
// zero value.
func ParseAutogroup(b []byte) (Autogroup, error) {
	var a Autogroup
	if len(bytes.TrimSpace(b)) == 0 {
		return a, nil
	}
	if _, err := fmt.Sscanf(string(b), "/autogroup-%d nice %d", &a.ID, &a.Nice); err != nil {
		return Autogroup{}, malformed("autogroup", b)
	}
	return a, nil
}

// parseHex parses 32 bits of hexadecimal text without a prefix.
func parseHex(b []byte) (uint64, error) {
	v, err := strconv.ParseUint(string(bytes.TrimSpace(b)), 16, 32)
	if err != nil {
		return 0, malformed("hexadecimal number", b)
	}
	return v, nil
}

func parseDecimal(b []byte) (int, error) {
	v, err := strconv.Atoi(string(bytes.TrimSpace(b)))
	if err != nil {
		return 0, malformed("number", b)
	}
	return v, nil
}

// MergesMemory reports whether a process asked for all its memory to be merged
// with equal pages, PR_SET_MEMORY_MERGE in prctl(2); kernels from 6.16 on tell.
func MergesMemory(pid int) (bool, error) {
	return readParsed(pid, Path(pid, "ksm_stat"), func(b []byte) (bool, error) {
		_, rest, found := strings.Cut(string(b), "ksm_merge_any:")
		if !found {
			return false, malformed("ksm_stat", b)
		}
		return strings.HasPrefix(strings.TrimSpace(rest), "yes"), nil
	})
}
