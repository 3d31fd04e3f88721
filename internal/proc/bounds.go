package proc

import (
	"strconv"
	"strings"
)

// FileNR is how many files are open in the whole system, and how many may be,
// see file-nr in proc_sys_fs(5).
func FileNR() (used, most int64, err error) {
	const path = "/proc/sys/fs/file-nr"
	b, err := readFile(path)
	if err != nil {
		return 0, 0, err
	}
	used, most, ok := parseFileNR(string(b))
	if !ok {
		return 0, 0, malformed(path, b)
	}
	return used, most, nil
}

// parseFileNR parses three numbers: allocated ones, those of them that are free,
// and the limit.
func parseFileNR(s string) (used, most int64, ok bool) {
	fields := strings.Fields(s)
	if len(fields) != 3 {
		return 0, 0, false
	}
	var n [3]int64
	for i, f := range fields {
		var err error
		if n[i], err = strconv.ParseInt(f, 10, 64); err != nil {
			return 0, 0, false
		}
	}
	return n[0] - n[1], n[2], true
}

// TasksOf counts the processes and threads of a real user id.
func TasksOf(uid uint32) (int, error) {
	pids, err := Processes()
	if err != nil {
		return 0, err
	}
	n := 0
	for _, pid := range pids {
		if s, err := ReadStatus(pid); err == nil && s.Uid[0] == uid {
			n += s.Threads
		}
	}
	return n, nil
}
