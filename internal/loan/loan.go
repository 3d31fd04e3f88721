package loan

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
	"ckpt/internal/tracee"
)

const (
	pageBytes    = abi.PageBytes
	scratchBytes = 16 * pageBytes
	slotBytes    = 384 // of the way home, see wayHome
	slots        = 2
)

// ErrNoPlace: there is no room for the way home.
var ErrNoPlace = errors.New("none of its executable mappings ends in 384 unused bytes, which a system call in it needs")

// Loan is a thread on loan for system calls, see the package documentation.
type Loan struct {
	t          *tracee.Tracee
	place      *Place
	saved      tracee.Regs
	mask       uint64
	blocked    uint64 // the signals that the thread blocks now
	slot       int
	quiet      *unix.Signal
	amongCalls bool // it is in the code that makes calls, not before its way home
	undo       []tracee.HomeCall
	pipe       *Pipe
}

// Borrow takes the thread on loan. It must be in a stop of Group.Seize. Return restores its
// registers, except that an interrupted rseq(2) critical section is aborted, as it is by
// any preemption.
func Borrow(t *tracee.Tracee, p *Place) (*Loan, error) {
	slot := 1
	if p.slots == 1 {
		slot = 0
	}
	l, err := borrow(t, p, slot)
	if err != nil {
		return nil, err
	}
	if err = l.block(^uint64(0)); err == nil && !p.tight {
		err = l.mapScratch()
	}
	if err != nil {
		return nil, errors.Join(err, l.Return())
	}
	return l, nil
}

// borrow parks the thread before its way home, which it writes to the slot after this one.
// Nothing else of the thread or its memory is changed yet.
func borrow(t *tracee.Tracee, p *Place, slot int) (*Loan, error) {
	l := &Loan{t: t, place: p, slot: slot}
	if err := t.ReadRegs(&l.saved); err != nil {
		return nil, err
	}
	if err := t.AbortRseq(&l.saved); err != nil {
		return nil, err
	}
	var err error
	if l.mask, err = t.SignalMask(); err != nil {
		return nil, err
	}
	l.blocked = l.mask
	if !p.tight {
		l.undo = []tracee.HomeCall{{NR: unix.SYS_MUNMAP, Args: []uint64{p.scratch.Addr, p.scratch.Len}}}
	}
	if p.ask != 0 && !p.written {
		if err := p.poke(t, p.ask, tracee.AskCode); err != nil {
			return nil, err
		}
		p.written = true
	}
	return l, l.arm()
}

// Pass gives the thread back and takes another one of its process on loan, with the same
// memory. There is always a thread that unmaps the memory if we die. For a moment there are
// two, and then neither uses it.
func (l *Loan) Pass(to *tracee.Tracee) (*Loan, error) {
	p := l.place
	if p.slots < slots || p.tight || l.pipe != nil || len(l.undo) != 1 {
		if err := l.Return(); err != nil {
			return nil, err
		}
		return Borrow(to, p)
	}
	if err := l.park(); err != nil {
		return nil, errors.Join(err, l.Return())
	}
	next, err := borrow(to, p, l.slot)
	if err != nil {
		return nil, errors.Join(err, l.Return())
	}
	if err := l.goBack(); err != nil {
		return nil, err // when they are let go, both walk home
	}
	return next, nil
}

// block sets the signals that the thread blocks during the loan.
func (l *Loan) block(mask uint64) error {
	if l.blocked == mask {
		return nil
	}
	l.blocked = mask
	return l.t.SetSignalMask(mask)
}

// mapScratch maps the loan's memory in the target. If the target's limits do not allow that,
// it takes some bytes that the target does not use.
func (l *Loan) mapScratch() error {
	at := l.place.scratch
	err := tracee.CallOK(l, "map scratch memory", unix.SYS_MMAP, at.Addr, at.Len, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED_NOREPLACE, ^uint64(0), 0)
	if e := tracee.Errno(err); e != unix.ENOMEM && e != unix.EAGAIN {
		return err
	}
	spare, found := spareStack(l.t, l.place.stack, l.saved.SP())
	if !found {
		return err
	}
	l.place.scratch, l.place.tight, l.undo = spare, true, nil
	return l.arm()
}

// arm writes the way home for the present undo list, and points the thread to it. It uses
// the other slot, so that the way home in use stays intact until then.
func (l *Loan) arm() error {
	slot := (l.slot + 1) % l.place.slots
	at := l.slotAddr(slot)
	code := tracee.WayHome(at, &l.saved, l.mask, l.undo, l.place.toClear())
	if len(code) > slotBytes {
		return fmt.Errorf("the way home takes %d bytes, and there is room for %d", len(code), slotBytes)
	}
	if err := l.place.poke(l.t, at, code); err != nil {
		return err
	}
	before := l.slot
	l.slot, l.amongCalls = slot, true
	if err := l.park(); err != nil {
		l.slot = before
		return err
	}
	return nil
}

// parkAddr is where a thread on loan is parked: before its way home.
func (l *Loan) parkAddr() uint64 { return l.slotAddr(l.slot) + uint64(len(tracee.SyscallInsn)) }

// park puts the thread there.
func (l *Loan) park() error {
	if !l.amongCalls {
		return nil
	}
	regs := l.saved
	regs.SetCall(l.parkAddr(), 0, nil)
	l.amongCalls = false
	return l.t.SetRegs(&regs)
}

func (l *Loan) slotAddr(slot int) uint64 { return l.place.code + uint64(slot*slotBytes) }

// Call makes a system call in the thread.
func (l *Loan) Call(nr uintptr, args ...uint64) (uint64, error) {
	if err := l.block(^uint64(0)); err != nil {
		return 0, err
	}
	l.amongCalls = false
	return l.t.CallAt(&l.saved, l.slotAddr(l.slot), nr, args)
}

// CallAndBack makes a system call. If we die, or Return is not called, the thread makes
// another one on its way home, which takes the first one back. If the first one fails,
// there is nothing to take back.
func (l *Loan) CallAndBack(nr uintptr, args []uint64, back uintptr, backArgs []uint64) error {
	if l.place.slots < slots {
		return l.t.Wrap("make a call that is taken back", ErrNoPlace)
	}
	undo := append([]tracee.HomeCall{{NR: back, Args: backArgs}}, l.undo...)
	slot := (l.slot + 1) % l.place.slots
	at := l.slotAddr(slot)
	code := tracee.WayHome(at, &l.saved, l.mask, undo, l.place.toClear())
	if len(code) > slotBytes {
		return l.t.Wrap("make a call that is taken back", fmt.Errorf("the way home takes %d bytes, and there is room for %d", len(code), slotBytes))
	}
	if err := errors.Join(l.block(^uint64(0)), l.place.poke(l.t, at, code)); err != nil {
		return err
	}
	// This puts the thread before the call and on the new way home at the same time.
	_, err := l.t.CallAt(&l.saved, at, nr, args)
	l.slot, l.amongCalls = slot, false
	if err != nil {
		return errors.Join(err, l.arm())
	}
	l.undo = undo
	return nil
}

// Guard makes the thread make a system call on its way home, if we die before the returned
// function was called.
func (l *Loan) Guard(nr uintptr, args ...uint64) (over func() error, err error) {
	if l.place.slots < slots {
		return nil, l.t.Wrap("prepare to take back what is done to it", ErrNoPlace)
	}
	before := l.undo
	over = func() error {
		l.undo = before
		return l.arm()
	}
	l.undo = append([]tracee.HomeCall{{NR: nr, Args: args}}, before...)
	if err := l.arm(); err != nil {
		return nil, errors.Join(err, over())
	}
	return over, nil
}

// MaxBack is for how many calls of CallAndBack a loan has room.
const MaxBack = 4

// Scratch is the loan's memory in the target: 64 KiB, or TightBytes if it is Tight.
func (l *Loan) Scratch() tracee.Range { return l.place.scratch }

// Tight reports whether the limits of the target left no room for memory of the loan's own.
func (l *Loan) Tight() bool { return l.place.tight }

// Tracee is the thread on loan.
func (l *Loan) Tracee() *tracee.Tracee { return l.t }

// Saved returns the registers that the thread will have again.
func (l *Loan) Saved() *tracee.Regs { return &l.saved }

// SavedMask returns the signal mask that the thread will have again.
func (l *Loan) SavedMask() uint64 { return l.mask }

// Return gives the thread back as it was.
func (l *Loan) Return() error {
	if l.t.Dead() {
		return l.place.close()
	}
	var errs []error
	if l.pipe != nil {
		errs = append(errs, l.pipe.close())
	}
	if scratch := l.place.scratch; l.place.tight {
		errs = append(errs, l.t.WriteMem(scratch.Addr, make([]byte, scratch.Len)))
	} else {
		errs = append(errs, tracee.CallOK(l, "unmap scratch memory", unix.SYS_MUNMAP, scratch.Addr, scratch.Len))
	}
	if err := l.goBack(); err != nil {
		return errors.Join(append(errs, err, l.place.close())...)
	}
	return errors.Join(append(errs, l.place.clear(l.t))...)
}

// goBack brings the thread back to where it was, in the kernel's signal code, where an
// interrupted system call is restarted as if nothing had happened.
func (l *Loan) goBack() error {
	return errors.Join(l.t.InterruptFromCall(), l.t.SetSignalMask(l.mask), l.t.SetRegs(&l.saved))
}
