package proc

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// SysVIPC is what /proc/sysvipc tells of an object of this process's IPC namespace.
type SysVIPC struct {
	Key                  int32
	ID                   int
	Mode                 uint32
	UID, GID, CUID, CGID uint32
	// Counts are the columns of one kind of objects only, by the names that they have there.
	Counts map[string]uint64
}

// sysvIDs is what the column of the identifier is called, see proc_sysvipc(5).
var sysvIDs = map[string]string{"shm": "shmid", "sem": "semid", "msg": "msqid"}

// ReadSysVIPC lists the objects of a kind: shm, sem or msg. A kernel without them has none.
func ReadSysVIPC(kind string) ([]SysVIPC, error) {
	b, err := readFile("/proc/sysvipc/" + kind)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseSysVIPC(kind, b)
}

func parseSysVIPC(kind string, b []byte) (all []SysVIPC, err error) {
	lines := strings.Split(string(bytes.TrimSuffix(b, []byte("\n"))), "\n")
	names := strings.Fields(lines[0])
	for _, line := range lines[1:] {
		words := strings.Fields(line)
		if len(words) != len(names) {
			return nil, malformed("sysvipc/"+kind, []byte(line))
		}
		o := SysVIPC{Counts: map[string]uint64{}}
		for i, name := range names {
			if err := o.set(kind, name, words[i]); err != nil {
				return nil, fmt.Errorf("parse /proc/sysvipc/%s: %w", kind, err)
			}
		}
		all = append(all, o)
	}
	return all, nil
}

// set takes one column.
func (o *SysVIPC) set(kind, name, word string) error {
	base := 10
	if name == "perms" {
		base = 8
	}
	n, err := strconv.ParseInt(word, base, 64)
	if err != nil && name != "key" { // a count may be that of a 64-bit size
		var u uint64
		u, err = strconv.ParseUint(word, base, 64)
		n = int64(u)
	}
	switch name {
	case "key":
		o.Key = int32(n)
	case sysvIDs[kind]:
		o.ID = int(n)
	case "perms":
		o.Mode = uint32(n)
	case "uid":
		o.UID = uint32(n)
	case "gid":
		o.GID = uint32(n)
	case "cuid":
		o.CUID = uint32(n)
	case "cgid":
		o.CGID = uint32(n)
	default:
		o.Counts[name] = uint64(n)
	}
	return err
}

// ReadSysctls reads the numbers in a file below /proc/sys.
func ReadSysctls(name string) (values []uint64, err error) {
	b, err := readFile("/proc/sys/" + name)
	if err != nil {
		return nil, err
	}
	for word := range strings.FieldsSeq(string(b)) {
		n, err := strconv.ParseUint(word, 10, 64)
		if err != nil {
			return nil, malformed("sys/"+name, b)
		}
		values = append(values, n)
	}
	return values, nil
}

// WriteSysctls writes them.
func WriteSysctls(name string, values []uint64) error {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = strconv.FormatUint(v, 10)
	}
	return os.WriteFile("/proc/sys/"+name, []byte(strings.Join(words, " ")), 0)
}
