package proc

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Mount is one line of /proc/PID/mountinfo (proc_pid_mountinfo(5)).
type Mount struct {
	ID      int
	Parent  int
	Dev     uint64   // makedev(3) of the file system, as far as it has one
	Root    string   // what of the file system is mounted
	Point   string   // where, from the process's root
	Flags   []string // of the mount
	Shared  int      // its peer group, 0 if it has none
	Master  int      // the peer group whose slave it is, 0 if it is none
	FSType  string
	Source  string
	Options []string // of the file system

	Unbindable bool
}

// Mounts lists the mounts of a process's mount namespace, later ones over
// earlier ones.
func Mounts(pid int) ([]Mount, error) {
	return readParsed(pid, Path(pid, "mountinfo"), ParseMounts)
}

// ReadMounts reads a mountinfo file that is open.
func ReadMounts(f *os.File) ([]Mount, error) {
	b, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	return ParseMounts(b)
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
		m, ok := parseMount(string(line))
		if !ok {
			return nil, malformed("mountinfo line", line)
		}
		all = append(all, m)
	}
	return all, nil
}

func parseMount(line string) (m Mount, ok bool) {
	front, back, ok := strings.Cut(line, " - ")
	f, g := strings.Split(front, " "), strings.Split(back, " ")
	if !ok || len(f) < 6 || len(g) != 3 {
		return m, false
	}
	var major, minor uint32
	if _, err := fmt.Sscanf(f[2], "%d:%d", &major, &minor); err != nil || !setInt(&m.ID, f[0]) || !setInt(&m.Parent, f[1]) {
		return m, false
	}
	m.Dev, m.Root, m.Point, m.Flags = unix.Mkdev(major, minor), unescapeOctal(f[3]), unescapeOctal(f[4]), strings.Split(f[5], ",")
	m.FSType, m.Source, m.Options = unescapeOctal(g[0]), unescapeOctal(g[1]), strings.Split(g[2], ",")
	for i := range m.Options {
		m.Options[i] = unescapeOctal(m.Options[i])
	}
	for _, word := range f[6:] {
		name, number, _ := strings.Cut(word, ":")
		switch name {
		case "shared":
			ok = setInt(&m.Shared, number)
		case "master":
			ok = setInt(&m.Master, number)
		case "unbindable":
			m.Unbindable = true
		}
		if !ok {
			return m, false
		}
	}
	return m, true
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
