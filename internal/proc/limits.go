package proc

import (
	"bytes"
	"strconv"
	"strings"
)

// Unlimited is RLIM_INFINITY.
const Unlimited = ^uint64(0)

// Limit is one resource limit, in the unit of getrlimit(2).
type Limit struct{ Soft, Hard uint64 }

// Limits are indexed by RLIMIT_* of asm-generic/resource.h.
type Limits [16]Limit

// limitNames are the labels of /proc/PID/limits, in the order of RLIMIT_*
// (fs/proc/base.c, lnames). None is the beginning of another.
var limitNames = [len(Limits{})]string{
	"Max cpu time", "Max file size", "Max data size", "Max stack size",
	"Max core file size", "Max resident set", "Max processes", "Max open files",
	"Max locked memory", "Max address space", "Max file locks", "Max pending signals",
	"Max msgqueue size", "Max nice priority", "Max realtime priority", "Max realtime timeout",
}

// ReadLimits reads the resource limits of a process.
func ReadLimits(pid int) (Limits, error) {
	return readParsed(pid, Path(pid, "limits"), ParseLimits)
}

// ParseLimits parses the text of a limits file, which must have all 16.
func ParseLimits(b []byte) (Limits, error) {
	var l Limits
	var found [len(l)]bool
	for line := range bytes.SplitSeq(b, []byte{'\n'}) {
		i, rest := cutLimitName(string(line))
		if i < 0 {
			continue
		}
		values := strings.Fields(rest)
		if len(values) < 2 || !setLimit(&l[i].Soft, values[0]) || !setLimit(&l[i].Hard, values[1]) {
			return Limits{}, malformed("limits line", line)
		}
		found[i] = true
	}
	for i, ok := range found {
		if !ok {
			return Limits{}, malformed("limits without "+limitNames[i], b)
		}
	}
	return l, nil
}

func cutLimitName(line string) (int, string) {
	for i, name := range limitNames {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			return i, rest
		}
	}
	return -1, ""
}

func setLimit(to *uint64, word string) bool {
	if word == "unlimited" {
		*to = Unlimited
		return true
	}
	n, err := strconv.ParseUint(word, 10, 64)
	*to = n
	return err == nil
}
