package files

import (
	"errors"
	"testing"

	"ckpt/stream"
	"ckpt/stream/record"
)

// TestTableNumbers: fs.nr_open may be larger than its default.
func TestTableNumbers(t *testing.T) {
	for _, c := range []struct {
		fds  []int
		good bool
	}{{[]int{0, 1, 1 << 20, 1<<20 + 7}, true}, {[]int{-1}, false}, {[]int{3, 3}, false}, {[]int{1<<30 + 1}, false}} {
		var fds []record.FD
		for _, n := range c.fds {
			fds = append(fds, record.FD{FD: n})
		}
		errs := CheckTable(fds, nil)
		if c.good != (len(errs) == 0) || !c.good && !errors.Is(errs[0], stream.ErrCorrupt) {
			t.Errorf("%v: %v", c.fds, errs)
		}
	}
}
