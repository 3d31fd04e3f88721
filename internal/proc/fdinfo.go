package proc

import (
	"fmt"
	"slices"
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
	return parsed(pid, Path(pid, "fdinfo/"+strconv.Itoa(fd)), readPiece, ParseFDInfo)
}

// ParseFDInfo parses the text of an fdinfo file; pos and flags must be there.
func ParseFDInfo(b []byte) (FDInfo, error) {
	var f FDInfo
	var found [len(fdinfoKeys)]bool
	for line := range strings.SplitSeq(string(b), "\n") {
		if len(line) == 0 {
			continue
		}
		e := cutField(line)
		key := slices.Index(fdinfoKeys[:], e.Key)
		switch {
		case key < 0 || found[key]: // a kind of file may use the same key again
			f.Extra = append(f.Extra, e)
		case !f.set(e):
			return FDInfo{}, malformed("fdinfo line", []byte(line))
		default:
			found[key] = e.Key != "lock"
		}
	}
	if !found[0] || !found[1] {
		return FDInfo{}, fmt.Errorf("fdinfo has no pos and flags: %w", ErrFormat)
	}
	return f, nil
}

// fdinfoKeys are those of the lines that every kind of file has. The first two are
// always there.
var fdinfoKeys = [...]string{"pos", "flags", "mnt_id", "ino", "lock"}

// set stores such a line. It reports whether its value is well formed.
func (f *FDInfo) set(e Field) (ok bool) {
	switch e.Key {
	case "pos":
		pos, err := strconv.ParseInt(e.Value, 10, 64)
		f.Pos = pos
		return err == nil
	case "flags":
		return setUint(&f.Flags, e.Value, 8)
	case "mnt_id":
		return setInt(&f.MntID, e.Value)
	case "ino":
		return setUint(&f.Ino, e.Value, 10)
	}
	l, err := ParseLock(e.Value)
	f.Locks = append(f.Locks, l)
	return err == nil
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
