package sys

import (
	"errors"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestApart: the thread that takes another identity is never the program's first. That
// one does not end with its goroutine, and it is its identity that the kernel takes for
// the process's.
func TestApart(t *testing.T) {
	for range 2000 {
		err := apart(func() error { return nil }, func() error {
			if unix.Gettid() == unix.Getpid() {
				return errors.New("it is the first")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		runtime.Gosched()
	}
}
