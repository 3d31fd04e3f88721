// Package parallel spreads work over the CPUs.
package parallel

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
)

// Each calls do for n things, on as many OS threads as there are CPUs, and returns all
// errors, in order. The calling thread takes part: who watches whether it runs sees that.
func Each(n int, do func(i int) error) error {
	var next atomic.Int64
	errs := make([]error, n)
	work := func() {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			errs[i] = do(i)
		}
	}
	var others sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) - 1 {
		others.Go(work)
	}
	work()
	others.Wait()
	return errors.Join(errs...)
}
