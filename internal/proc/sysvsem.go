package proc

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Sem is a System V semaphore set of this process's IPC namespace.
type Sem struct {
	Key  int32
	ID   int
	Sems int // how many semaphores it has
}

// ReadSems lists the semaphore sets, see /proc/sysvipc/sem in proc_sysvipc(5). A
// kernel without System V IPC has none.
func ReadSems() ([]Sem, error) {
	b, err := readFile("/proc/sysvipc/sem")
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseSems(b)
}

func parseSems(b []byte) ([]Sem, error) {
	var all []Sem
	for i, line := range strings.Split(strings.TrimSuffix(string(b), "\n"), "\n") {
		if i == 0 {
			continue // the columns' names
		}
		f := strings.Fields(line)
		var s Sem
		if len(f) < 4 {
			return nil, fmt.Errorf("parse /proc/sysvipc/sem: line %q", line)
		}
		key, err := strconv.ParseInt(f[0], 10, 64)
		if err != nil || !setInt(&s.ID, f[1]) || !setInt(&s.Sems, f[3]) {
			return nil, fmt.Errorf("parse /proc/sysvipc/sem: line %q", line)
		}
		s.Key = int32(key)
		all = append(all, s)
	}
	return all, nil
}
