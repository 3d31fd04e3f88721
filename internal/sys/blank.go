package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// BlankThread starts a thread of this process that has no semaphore undo list, nor an I/O
// context unless the process was given an I/O priority. It lasts until end is called.
func BlankThread() (tid int, end func(), err error) {
	born, ends, failed := make(chan int), make(chan struct{}), make(chan error, 1)
	go func() {
		failed <- apart(func() error { return os.NewSyscallError("unshare", unix.Unshare(unix.CLONE_SYSVSEM)) }, func() error {
			born <- unix.Gettid()
			<-ends
			return nil
		})
	}()
	select {
	case tid = <-born:
		return tid, func() { close(ends) }, nil
	case err = <-failed:
		return 0, nil, err
	}
}
