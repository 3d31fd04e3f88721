package mounts

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// inThread calls f in a thread of its own that ends with it, so that f may change the
// thread's namespaces, root and working folder. It is never the program's first thread, which
// does not end with a goroutine.
func inThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			done <- inThread(f) // in another thread, for this one is taken
			runtime.UnlockOSThread()
			return
		}
		done <- f()
	}()
	return <-done
}
