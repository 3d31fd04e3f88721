package files

import (
	"slices"
	"time"

	"ckpt/internal/proc"
)

// searchLimit bounds the search through all processes, while the tree stands still.
const searchLimit = 2 * time.Second

// eachOutside calls visit with each descriptor of processes outside the tree, and returns
// how many processes it did not get to.
func (c *Collector) eachOutside(patience time.Duration, visit func(pid, fd int, link string)) (left int) {
	all, _ := proc.Processes()
	until := time.Now().Add(patience)
	for i, pid := range slices.Backward(all) {
		if time.Now().After(until) {
			return i + 1
		}
		if c.InTree(pid) {
			continue
		}
		fds, _ := proc.FDs(pid)
		for _, fd := range fds {
			if link, err := proc.FDLink(pid, fd); err == nil {
				visit(pid, fd, link)
			}
		}
	}
	return 0
}
