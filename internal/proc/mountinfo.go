package proc

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Mount is one line of /proc/PID/mountinfo (proc_pid_mountinfo(5)).
type Mount struct {
	ID      int
	Dev     uint64 // makedev(3) of the file system, as far as it has one
	Root    string // what of the file system is mounted
	Point   string // where, from the process's root
	FSType  string
	Options []string // of the file system
}

// Mounts lists the mounts of a process's mount namespace, later ones over
// earlier ones.
func Mounts(pid int) ([]Mount, error) {
	return readParsed(pid, Path(pid, "mountinfo"), ParseMounts)
}

// ParseMounts parses lines such as
//
//	32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu
func ParseMounts(b []byte) ([]Mount, error) {
	var all []Mount
	for line := range bytes.SplitSeq(b, []byte{'\n'}) {
		if len(line) == 0 {
			continue
		}
		front, back, ok := strings.Cut(string(line), " - ")
		f, g := strings.Split(front, " "), strings.Split(back, " ")
		if !ok || len(f) < 6 || len(g) != 3 {
			return nil, malformed("mountinfo line", line)
		}
		m := Mount{Root: unescapeOctal(f[3]), Point: unescapeOctal(f[4]), FSType: unescapeOctal(g[0]), Options: strings.Split(g[2], ",")}
		var major, minor uint32
		if _, err := fmt.Sscanf(f[2], "%d:%d", &major, &minor); err != nil || !setInt(&m.ID, f[0]) {
			return nil, malformed("mountinfo line", line)
		}
		m.Dev = unix.Mkdev(major, minor)
		all = append(all, m)
	}
	return all, nil
}

// unescapeOctal undoes the kernel's \040 and its like.
func unescapeOctal(s string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, `\`)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		if n, err := strconv.ParseUint(after[:min(3, len(after))], 8, 8); err == nil && len(after) >= 3 {
			b.WriteByte(byte(n))
			after = after[3:]
		} else {
			b.WriteByte('\\')
		}
		s = after
	}
}
