package parallel

import (
	"errors"
	"testing"
)

// TestEach: each thing is done once, and all errors are returned, in order.
func TestEach(t *testing.T) {
	for _, n := range []int{0, 1, 2, 1000} {
		done := make([]int, n)
		if err := Each(n, func(i int) error { done[i]++; return nil }); err != nil {
			t.Error(err)
		}
		for i, times := range done {
			if times != 1 {
				t.Errorf("%d of %d was done %d times", i, n, times)
			}
		}
	}
	first, last := errors.New("first"), errors.New("last")
	err := Each(1000, func(i int) error { return map[int]error{3: first, 999: last}[i] })
	if !errors.Is(err, first) || !errors.Is(err, last) || err.Error() != "first\nlast" {
		t.Error(err)
	}
}
