package repair

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/internal/sys"
	"ckpt/stream/record"
)

// Begin puts a new socket into repair and tells it the sequence numbers with which its
// queues begin. It is bound and connected next. ended: the program has said that it sends
// no more, so that the last of its sequence numbers is that of a FIN.
func Begin(fd int, r *record.TCPRepair, ended bool) error {
	if err := on(fd); err != nil {
		return err
	}
	send := r.SendNext - uint32(r.Sent+r.Unsent)
	if ended {
		send--
	}
	for _, q := range []struct {
		queue int
		first uint32
	}{{SendQueue, send}, {RecvQueue, r.RecvNext - uint32(r.Received)}} {
		if err := set(fd, unix.SOL_TCP, unix.TCP_REPAIR_QUEUE, q.queue, "TCP_REPAIR_QUEUE"); err != nil {
			return err
		}
		if err := set(fd, unix.SOL_TCP, unix.TCP_QUEUE_SEQ, int(int32(q.first)), "TCP_QUEUE_SEQ"); err != nil {
			return err
		}
	}
	return set(fd, unix.SOL_TCP, unix.TCP_REPAIR_QUEUE, NoQueue, "TCP_REPAIR_QUEUE")
}

// Agree tells a socket that was just connected in repair what the two sides had agreed.
func Agree(fd int, r *record.TCPRepair) error {
	if err := onlyFree(fd); err != nil {
		return err
	}
	var b []byte
	option := func(code int, value uint32) { // struct tcp_repair_opt
		b = binary.NativeEndian.AppendUint32(b, uint32(code))
		b = binary.NativeEndian.AppendUint32(b, value)
	}
	option(unix.TCPOPT_MAXSEG, uint32(r.MSS))
	// Also if there was no scaling: the kernel has chosen a scale when it connected.
	option(unix.TCPOPT_WINDOW, uint32(r.SendScale)|uint32(r.RecvScale)<<16)
	if r.SACK {
		option(unix.TCPOPT_SACK_PERMITTED, 0)
	}
	if r.Stamps {
		option(unix.TCPOPT_TIMESTAMP, 0)
	}
	if err := sys.Setsockopt(fd, unix.SOL_TCP, unix.TCP_REPAIR_OPTIONS, b); err != nil {
		return fmt.Errorf("TCP_REPAIR_OPTIONS: %w", err)
	}
	if err := segment(fd); err != nil {
		return err
	}
	if r.Stamps { // and from there it goes on
		return set(fd, unix.SOL_TCP, unix.TCP_TIMESTAMP, int(int32(uint32(r.Stamp))), "TCP_TIMESTAMP")
	}
	return nil
}

// segment has the kernel compute anew how much goes into one packet. It does so for an
// established connection when IP options are set (do_ip_setsockopt in net/ipv4/ip_sockglue.c),
// also to what they were, and on IPv6.
func segment(fd int) error {
	options := make([]byte, 40)
	n, err := sys.Getsockopt(fd, unix.SOL_IP, unix.IP_OPTIONS, options)
	if err == nil {
		err = sys.Setsockopt(fd, unix.SOL_IP, unix.IP_OPTIONS, options[:n])
	}
	if err != nil {
		return fmt.Errorf("IP_OPTIONS: %w", err)
	}
	return nil
}

// Refill puts bytes into a queue, as if they had been received or sent.
func Refill(fd, queue int, b []byte) error {
	const atOnce = 1 << 14 // the kernel takes what is received in one piece of memory
	if err := set(fd, unix.SOL_TCP, unix.TCP_REPAIR_QUEUE, queue, "TCP_REPAIR_QUEUE"); err != nil {
		return err
	}
	if err := Send(fd, b, atOnce); err != nil {
		return err
	}
	return set(fd, unix.SOL_TCP, unix.TCP_REPAIR_QUEUE, NoQueue, "TCP_REPAIR_QUEUE")
}

// FIN has the program have said that it sends no more, as if that had been sent, too.
func FIN(fd int, ended bool) error {
	if !ended {
		return nil
	}
	return errors.Join(set(fd, unix.SOL_TCP, unix.TCP_REPAIR_QUEUE, SendQueue, "TCP_REPAIR_QUEUE"),
		os.NewSyscallError("shutdown", unix.Shutdown(fd, unix.SHUT_WR)), set(fd, unix.SOL_TCP, unix.TCP_REPAIR_QUEUE, NoQueue, "TCP_REPAIR_QUEUE"))
}

// Send writes bytes to a socket that has room for them, so many at once.
func Send(fd int, b []byte, atOnce int) error {
	for len(b) > 0 {
		n, err := unix.SendmsgN(fd, b[:min(len(b), atOnce)], nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("%d bytes are left: %w", len(b), os.NewSyscallError("sendmsg", err))
		}
		b = b[n:]
	}
	return nil
}

// Window sets the windows of both sides. All that was received is there.
func Window(fd int, r *record.TCPRepair) error {
	if r.Clamp > 0 {
		if err := set(fd, unix.SOL_TCP, unix.TCP_WINDOW_CLAMP, r.Clamp, "TCP_WINDOW_CLAMP"); err != nil {
			return err
		}
	}
	var b []byte
	for _, n := range []uint32{r.SendWL1, r.SendWnd, r.MaxWindow, r.RecvWnd, r.RecvWup} { // struct tcp_repair_window
		b = binary.NativeEndian.AppendUint32(b, n)
	}
	if err := sys.Setsockopt(fd, unix.SOL_TCP, unix.TCP_REPAIR_WINDOW, b); err != nil {
		return fmt.Errorf("TCP_REPAIR_WINDOW: %w", err)
	}
	if int64(r.MaxWindow) < int64(r.MSS) { // or more goes into one packet than the other side ever had room for
		return segment(fd)
	}
	return nil
}
