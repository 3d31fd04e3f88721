// Package testkit is what the tests of several packages need.
package testkit

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var seed = flag.Uint64("seed", 0, "of the random tests; 0: a new one")

// Random returns numbers whose seed is in the test's log.
func Random(t testing.TB) *rand.Rand {
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("-seed %d", s)
	return rand.New(rand.NewPCG(s, 0))
}

// Check ends a test for an error.
func Check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Must is the value that comes with an error, which ends the test.
func Must[T any](v T, err error) func(t testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		Check(t, err)
		return v
	}
}

// Soon waits until something becomes true.
func Soon(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatalf("waited a minute for %s", what)
		}
	}
}

// Says checks the text of an error.
func Says(t testing.TB, err error, want string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, not %q", err, want)
	}
}

// No goroutine of a test gets the program's first OS thread, which would not end with it.
func init() { runtime.LockOSThread() }

// Another runs f on an OS thread that ends when f returns: the tracer dies.
func Another(f func()) {
	done := make(chan int)
	go func() {
		runtime.LockOSThread() // and never unlocks it
		defer func() { done <- unix.Gettid() }()
		f()
	}()
	tid := <-done
	for { // the deferred send comes before the end of the thread
		if _, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", tid)); err != nil {
			return
		}
		runtime.Gosched()
	}
}
