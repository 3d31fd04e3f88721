package files

import (
	"iter"
	"slices"
	"time"

	"ckpt/internal/kcmp"
	"ckpt/internal/proc"
)

// searchLimit bounds the search through all processes, while the tree stands still.
const searchLimit = 2 * time.Second

// eachOutside calls visit with each descriptor of processes outside the tree, whose
// ids are those of proc.Usual, and returns how many processes it did not get to.
func (c *Collector) eachOutside(patience time.Duration, visit func(pid, fd int, link string)) (left int) {
	inTree := c.InTree
	if c.UsualInTree != nil {
		inTree = c.UsualInTree
	}
	all, _ := proc.Usual.Processes()
	until := time.Now().Add(patience)
	for i, pid := range slices.Backward(all) {
		if time.Now().After(until) {
			return i + 1
		}
		if inTree(pid) {
			continue
		}
		for tid := range tables(pid) {
			fds, _ := proc.Usual.FDs(tid)
			for _, fd := range fds {
				if time.Now().After(until) {
					return i + 1
				}
				if link, err := proc.Usual.FDLink(tid, fd); err == nil {
					visit(tid, fd, link)
				}
			}
		}
	}
	return 0
}

// tables returns a thread for each descriptor table of a process, for some of them several:
// the first thread may have ended, and others may have a table of their own. From within
// another pid namespace tables can't be compared, for kcmp(2) takes the ids of here, and all
// threads are yielded: what bounds the search is its time.
func tables(pid int) iter.Seq[int] {
	const compared = 4 // with so many each, since somebody may have thousands
	threads, _ := proc.Usual.Threads(pid)
	return func(yield func(int) bool) {
		var tids []int
		for _, tid := range threads {
			shared := !proc.Apart() && slices.ContainsFunc(tids, func(other int) bool {
				order, err := kcmp.Compare(other, tid, kcmp.Files, 0, 0)
				return err == nil && order == kcmp.Equal
			})
			if shared {
				continue
			}
			if len(tids) < compared {
				tids = append(tids, tid)
			}
			if !yield(tid) {
				return
			}
		}
	}
}
