package proc

import (
	"bytes"
	"strings"
)

// ReadPlaced returns the mappings of a process, by their start, that have another
// NUMA policy than the system's default, be it their own or their process's. The file is missing without CONFIG_NUMA.
func ReadPlaced(pid int) (map[uint64]bool, error) {
	return readParsed(pid, Path(pid, "numa_maps"), ParsePlaced)
}

// ParsePlaced parses the text of a numa_maps file: each line begins with the
// mapping's start and its policy.
func ParsePlaced(b []byte) (map[uint64]bool, error) {
	var placed map[uint64]bool
	for line := range bytes.Lines(b) {
		start, rest, ok := strings.Cut(string(line), " ")
		var at uint64
		if !ok || !setUint(&at, start, 16) {
			return nil, malformed("numa_maps line", line)
		}
		if policy := strings.Fields(rest); len(policy) == 0 {
			return nil, malformed("numa_maps line", line)
		} else if policy[0] == "default" {
			continue
		}
		if placed == nil {
			placed = map[uint64]bool{}
		}
		placed[at] = true
	}
	return placed, nil
}
