package tracee

import (
	"encoding/binary"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
)

// sequence is a restartable sequence, struct rseq_cs in uapi linux/rseq.h.
type sequence struct {
	start, length, abort uint64
	version, flags       uint32
}

const (
	rseqCSOffset = 8 // of rseq_cs in struct rseq
	rseqSigBytes = 4 // before the abort handler
)

// sequence returns the restartable sequence that a thread has announced, nil for none. good
// is false if the kernel sends SIGSEGV for it, see rseq_get_rseq_cs in kernel/rseq.c.
func (t *Tracee) sequence() (s *sequence, good bool, area uint64, err error) {
	conf, err := t.RseqConfiguration()
	if err != nil || conf.Addr == 0 {
		return nil, true, 0, err
	}
	var field [8]byte
	if err := t.ReadMem(conf.Addr+rseqCSOffset, field[:]); err != nil {
		return nil, true, 0, err
	}
	at := binary.LittleEndian.Uint64(field[:])
	if at == 0 {
		return nil, true, conf.Addr, nil
	}
	var cs [abi.RseqCSBytes]byte
	var sig [rseqSigBytes]byte
	s = new(sequence)
	if t.ReadMem(at, cs[:]) != nil {
		return s, false, conf.Addr, nil
	}
	s.version, s.flags = binary.LittleEndian.Uint32(cs[:]), binary.LittleEndian.Uint32(cs[4:])
	s.start, s.length, s.abort = binary.LittleEndian.Uint64(cs[8:]), binary.LittleEndian.Uint64(cs[16:]), binary.LittleEndian.Uint64(cs[24:])
	good = s.version == 0 && s.start+s.length >= s.start && s.abort-s.start >= s.length && t.ReadMem(s.abort-rseqSigBytes, sig[:]) == nil &&
		binary.LittleEndian.Uint32(sig[:]) == conf.Signature
	return s, good, conf.Addr, nil
}

// AbortRseq moves regs to the abort handler if they are inside a restartable sequence, as
// the kernel does before a preempted thread runs on, see rseq(2).
func (t *Tracee) AbortRseq(regs *Regs) error {
	s, good, _, err := t.sequence()
	if err == nil && s != nil && good && regs.IP()-s.start < s.length {
		regs.SetIP(s.abort)
	}
	return err
}

// SettleRseq is for a thread that has announced a restartable sequence for which the kernel
// sends it SIGSEGV before it runs on after any interruption. If it waits in a system call,
// only our stop would make it run on: the sequence is cleared, as the kernel does with one
// that a thread is not in. Otherwise the thread is let run for a moment, so that it gets
// what it would have got anyway. It may do anything then.
func (t *Tracee) SettleRseq(timeout time.Duration) (ran bool, err error) {
	for begin := time.Now(); ; ran = true {
		s, good, area, err := t.sequence()
		if err != nil || s == nil || good {
			return ran, err
		}
		regs, err := t.Regs()
		if err != nil {
			return ran, err
		}
		if regs.Interrupted() >= 0 {
			return ran, t.Poke(area+rseqCSOffset, make([]byte, 8))
		}
		if time.Since(begin) > timeout {
			return ran, t.Wrap("stop outside a restartable sequence that is not valid and will end it", ErrTimeout)
		}
		if err := unix.PtraceCont(t.TID, 0); err != nil {
			return true, t.Wrap("continue", err)
		}
		time.Sleep(50 * time.Microsecond)
		if err := t.StopAgain(timeout); err != nil {
			return true, err
		}
	}
}
