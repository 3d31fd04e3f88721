package parallel

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"
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

// TestNamed: what is waited for is named by the thread that waits, also if another does it.
func TestNamed(t *testing.T) {
	const n = 100
	var stuck atomic.Int64
	named, free, over := make(chan int, 2*n), make(chan struct{}), make(chan error, 1)
	go func() {
		over <- EachNamed(n, func(i int) { named <- i }, func(i int) error {
			if i > n/2 && stuck.CompareAndSwap(0, int64(i)) {
				<-free
			}
			return nil
		})
	}()
	seen, end := map[int64]bool{}, time.After(time.Minute)
	for stuck.Load() == 0 || !seen[stuck.Load()] {
		select {
		case i := <-named:
			seen[int64(i)] = true
		case <-time.After(time.Millisecond):
		case <-end:
			t.Fatalf("%d is waited for, and nobody says so", stuck.Load())
		}
	}
	close(free)
	if err := <-over; err != nil {
		t.Error(err)
	}
}
