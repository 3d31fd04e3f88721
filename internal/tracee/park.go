package tracee

import "golang.org/x/sys/unix"

// Parked is what a thread has again when it is no longer parked.
type Parked struct {
	TID  int
	Regs []byte // Regs.Encode
	Mask uint64
}

// noSignals is the mask of a parked thread, as the kernel shows it.
const noSignals = ^uint64(1<<(unix.SIGKILL-1) | 1<<(unix.SIGSTOP-1))

// Now returns what the thread has now.
func (t *Tracee) Now() (Parked, error) {
	regs, err := t.Regs()
	if err != nil {
		return Parked{}, err
	}
	mask, err := t.SignalMask()
	return Parked{t.TID, regs.Encode(), mask}, err
}

// Park puts the thread at LoopCode, where it makes nothing of its program even if
// somebody lets it run, without us. No signal gets it from there, but SIGKILL.
func (t *Tracee) Park(loop uint64) error {
	regs, err := t.Regs()
	if err != nil {
		return err
	}
	if err := t.SetSignalMask(noSignals); err != nil {
		return err
	}
	regs.SetCall(loop, 0, nil)
	return t.SetRegs(regs)
}

// WriteLoop writes LoopCode to where threads of its process are to be parked.
func (t *Tracee) WriteLoop(loop uint64) error { return t.Poke(loop, LoopCode) }

// ClearLoop makes the bytes zero again. No thread may be there any more.
func (t *Tracee) ClearLoop(loop uint64) error { return t.Poke(loop, make([]byte, len(LoopCode))) }

// Unpark gives the thread back what it had, as far as it is parked: whoever parked or
// unparked it may have been killed in the midst of that. It must be in a stop of Group.Seize.
func (t *Tracee) Unpark(loop uint64, was *Parked) error {
	saved, err := DecodeRegs(was.Regs)
	if err != nil {
		return t.Wrap("let it go on", err)
	}
	regs, err := t.Regs()
	if err != nil {
		return err
	}
	mask, err := t.SignalMask()
	if err != nil {
		return err
	}
	there := regs.IP() == loop
	if there {
		err = t.SetRegs(saved)
	} else {
		err = t.HideStop()
	}
	if err == nil && mask == noSignals && (there || regs.stoodAt(saved)) {
		err = t.SetSignalMask(was.Mask)
	}
	return err
}

// stoodAt reports whether a thread has not gone on from where it had been, except that it is about to
// make the call again in which it had been interrupted.
func (r *Regs) stoodAt(before *Regs) bool {
	return r.SP() == before.SP() && (r.IP() == before.IP() || r.IP()+uint64(len(SyscallInsn)) == before.IP())
}
