package files

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/tracee"
)

// Of uapi linux/io_uring.h and io_uring/io_uring.h.
const (
	uringEnterRegistered = 1 << 4 // IORING_ENTER_REGISTERED_RING
	uringRegisteredMax   = 16     // IO_RINGFD_REG_MAX
)

// askUringFDs asks which io_urings a thread has registered for itself, see
// IORING_REGISTER_RING_FDS in io_uring_register(2): to submit nothing succeeds.
func askUringFDs() (all []tracee.Query) {
	for i := range uint64(uringRegisteredMax) {
		all = append(all, tracee.Query{NR: unix.SYS_IO_URING_ENTER, Args: [6]uint64{i, 0, 0, uringEnterRegistered}})
	}
	return all
}

// registeredUrings blocks a thread that has registered descriptors of io_urings.
func registeredUrings(t *Thread) error {
	answers, err := t.Ask(askUringFDs())
	if err != nil {
		return err
	}
	for i := range answers {
		if err := answers[i].Err; err == nil || !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EBADF) {
			t.Block(cli.WithHint(fmt.Errorf("has a thread, %d, that has registered the descriptor of an io_uring for itself (IORING_REGISTER_RING_FDS), which can't be saved", t.TID),
				"make the program do without; programs that use io_uring mostly have an option against it"))
			return nil
		}
	}
	return nil
}
