package proc

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

// FDInfo is /proc/PID/fdinfo/FD (proc_pid_fdinfo(5), fs/proc/fd.c seq_show).
type FDInfo struct {
	Pos   int64
	Flags uint32 // O_* as from fcntl(F_GETFL), and O_CLOEXEC of the descriptor
	MntID int    // first field of /proc/PID/mountinfo
	Ino   uint64 // 0 before kernel 5.14
	Locks []Lock
	Extra []Field // what the kind of file adds, in order
}

// Field is one line of fdinfo, split at the first colon.
//
// Lines of inotify and fanotify have a word and then pairs: of
// "inotify wd:1 ino:9" Key is "inotify" and Value "wd:1 ino:9".
type Field struct{ Key, Value string }

// Get returns the value of the first extra line with that key.
func (f *FDInfo) Get(key string) (string, bool) {
	for _, e := range f.Extra {
		if e.Key == key {
			return e.Value, true
		}
	}
	return "", false
}

// ReadFDInfo reads what /proc says about one descriptor.
func ReadFDInfo(pid, fd int) (FDInfo, error) {
	return parsed(pid, pidPath(pid, "fdinfo/"+strconv.Itoa(fd)), readPiece, ParseFDInfo)
}

// ParseFDInfo parses the text of an fdinfo file; pos and flags must be there.
func ParseFDInfo(b []byte) (FDInfo, error) {
	var f FDInfo
	found := map[string]bool{}
	for line := range bytes.SplitSeq(b, []byte{'\n'}) {
		if len(line) == 0 {
			continue
		}
		e := cutField(string(line))
		known, ok := false, true
		if !found[e.Key] { // a kind of file may use the same key again
			known, ok = f.set(e)
		}
		switch {
		case !ok:
			return FDInfo{}, malformed("fdinfo line", line)
		case known:
			found[e.Key] = e.Key != "lock"
		default:
			f.Extra = append(f.Extra, e)
		}
	}
	if !found["pos"] || !found["flags"] {
		return FDInfo{}, fmt.Errorf("fdinfo has no pos and flags: %w", ErrFormat)
	}
	return f, nil
}

// set stores a line that every kind of file has. It reports whether it is one,
// and whether its value is well formed.
func (f *FDInfo) set(e Field) (known, ok bool) {
	switch e.Key {
	case "pos":
		pos, err := strconv.ParseInt(e.Value, 10, 64)
		f.Pos = pos
		return true, err == nil
	case "flags":
		return true, setUint(&f.Flags, e.Value, 8)
	case "mnt_id":
		return true, setInt(&f.MntID, e.Value)
	case "ino":
		return true, setUint(&f.Ino, e.Value, 10)
	case "lock":
		l, err := ParseLock(e.Value)
		f.Locks = append(f.Locks, l)
		return true, err == nil
	}
	return false, true
}

// cutField splits a line; one without a colon is a key.
func cutField(line string) Field {
	for _, word := range []string{"inotify", "fanotify"} {
		if rest, ok := strings.CutPrefix(line, word+" "); ok {
			return Field{word, rest}
		}
	}
	key, value, _ := strings.Cut(line, ":")
	return Field{strings.Trim(key, " \t"), strings.TrimLeft(value, " \t")}
}
