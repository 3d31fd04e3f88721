// Package parallel spreads work over the CPUs.
package parallel

import (
	"errors"
	"runtime"
	"sync/atomic"
)

// Each calls do for n things, on as many OS threads as there are CPUs, and returns all
// errors, in order. The calling thread takes part: who watches whether it runs sees that.
func Each(n int, do func(i int) error) error { return EachNamed(n, func(int) {}, do) }

// EachNamed is Each for things that may take for ever: the calling thread calls next with
// what it does next, or will wait for while another does it.
func EachNamed(n int, next func(i int), do func(i int) error) error {
	var taken atomic.Int64
	errs := make([]error, n)
	work := func(begin func(i int)) {
		for i := int(taken.Add(1)) - 1; i < n; i = int(taken.Add(1)) - 1 {
			begin(i)
			errs[i] = do(i)
		}
	}
	others := make([]worker, max(0, min(n, runtime.GOMAXPROCS(0))-1))
	for i := range others {
		w := &others[i]
		w.done = make(chan struct{})
		go func() {
			defer close(w.done)
			work(func(i int) { w.at.Store(int64(i) + 1) })
		}()
	}
	work(next)
	for i := range others { // nothing is left to take, so each is at its last
		if at := others[i].at.Load(); at > 0 {
			next(int(at) - 1)
		}
		<-others[i].done
	}
	return errors.Join(errs...)
}

// worker is one of the other threads.
type worker struct {
	at   atomic.Int64 // what it does, from 1 on
	done chan struct{}
}
