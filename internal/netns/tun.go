package netns

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/stream/record"
)

// makeTun makes a tun or tap device that stays when nobody has it open, in the calling
// thread's network namespace.
func makeTun(l *record.Link) error {
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(fillTun(int(f.Fd()), l), f.Close())
}

func fillTun(fd int, l *record.Link) error {
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETIFINDEX, l.Index); err != nil {
		return os.NewSyscallError("ioctl TUNSETIFINDEX", err)
	}
	req, err := unix.NewIfreq(l.Name)
	if err != nil {
		return err
	}
	is := func(name string) bool { v, _ := value(l, name); return v != 0 }
	kind, _ := value(l, "tun.type")
	flags := uint16(kind) // IFF_TUN or IFF_TAP
	if !is("tun.pi") {
		flags |= unix.IFF_NO_PI
	}
	if is("tun.vnet_hdr") {
		flags |= unix.IFF_VNET_HDR
	}
	if is("tun.multi_queue") {
		flags |= unix.IFF_MULTI_QUEUE
	}
	req.SetUint16(flags)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return os.NewSyscallError("ioctl TUNSETIFF", err)
	}
	for name, call := range map[string]uint{"tun.owner": unix.TUNSETOWNER, "tun.group": unix.TUNSETGROUP} {
		if id, ok := value(l, name); ok {
			if err := unix.IoctlSetInt(fd, call, int(id)); err != nil {
				return os.NewSyscallError("ioctl "+name, err)
			}
		}
	}
	return os.NewSyscallError("ioctl TUNSETPERSIST", unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1))
}
