package collect

import "golang.org/x/sys/unix"

// hurry lets the calling OS thread, which must be locked, go before others until
// calm is called: to stop hundreds of threads that all want a CPU must not wait
// for one as each of them does. Nothing inherits it. Who may not do so goes on as
// it is.
func hurry() (calm func()) {
	const nicest = -20
	was, err := unix.SchedGetAttr(0, 0)
	if err != nil || was.Policy != unix.SCHED_NORMAL {
		return func() {}
	}
	was.Flags |= unix.SCHED_FLAG_RESET_ON_FORK // who may set it may not always clear it
	now := *was
	now.Nice = nicest
	if unix.SchedSetAttr(0, &now, 0) != nil {
		return func() {}
	}
	return func() { _ = unix.SchedSetAttr(0, was, 0) }
}
