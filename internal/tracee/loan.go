package tracee

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

const (
	pageBytes    = 4096
	scratchBytes = 16 * pageBytes
	slotBytes    = 384 // of the way home, see wayHome
	slots        = 2
)

// ErrNoPlace: no room for the way home.
var ErrNoPlace = errors.New("none of its executable mappings ends in 384 unused bytes, which a system call in it needs")

// Place is where a Loan finds room in an address space.
type Place struct {
	code    uint64 // zero bytes at the end of an executable mapping
	slots   int    // how many times slotBytes fit there
	scratch Range  // a hole between mappings
	fds     [2]int // the numbers the next two descriptors will get
}

// FindPlace looks for a Loan's place. The process must stand still.
func (t *Tracee) FindPlace(maps []proc.Mapping, fds []int) (*Place, error) {
	p := &Place{}
	exec := make([]proc.Mapping, 0, 8)
	occupied := make([]Range, len(maps))
	for i, m := range maps {
		occupied[i] = Range{m.Start, m.End - m.Start}
		switch {
		case m.Prot&unix.PROT_EXEC == 0 || m.Shared || m.Name() == "[vsyscall]":
		case m.Name() == "[vdso]":
			exec = slices.Insert(exec, 0, m)
		default:
			exec = append(exec, m)
		}
	}
	for _, m := range exec {
		if p.slots < slots {
			t.zeroTail(m, p)
		}
	}
	if p.slots == 0 {
		return nil, t.wrap("find room for system calls", ErrNoPlace)
	}
	var ok bool
	if p.scratch, ok = Hole(occupied, scratchBytes); !ok {
		return nil, t.wrap("find room for system calls", errors.New("its address space is full"))
	}
	p.fds = lowestFree(fds)
	return p, nil
}

// zeroTail takes m's end as the place for code if that is better than what p has.
func (t *Tracee) zeroTail(m proc.Mapping, p *Place) {
	page := make([]byte, pageBytes)
	if m.Name() == "[vdso]" {
		// The same in all processes. Bytes that differ in this one are what an
		// earlier loan left whose tracer was killed.
		own, err := VDSO()
		if err != nil || uint64(len(own)) != m.Len() {
			return
		}
		copy(page, own[len(own)-pageBytes:])
	} else if t.ReadMem(m.End-pageBytes, page) != nil {
		return
	}
	// Keep 16 bytes away from what is in use.
	free := len(page) - len(bytes.TrimRight(page, "\x00")) - 16
	if n := min(free/slotBytes, slots); n > p.slots {
		p.slots, p.code = n, m.End-uint64(n*slotBytes)
	}
}

// VDSO returns the code that this kernel maps into every process, see vdso(7);
// nothing where there is none.
func VDSO() ([]byte, error) {
	maps, err := proc.ReadMaps(os.Getpid())
	if err != nil {
		return nil, err
	}
	for _, m := range maps {
		if m.Name() != "[vdso]" {
			continue
		}
		mem, err := os.Open("/proc/self/mem")
		if err != nil {
			return nil, err
		}
		defer mem.Close()
		text := make([]byte, m.Len())
		_, err = mem.ReadAt(text, int64(m.Start))
		return text, err
	}
	return nil, nil
}

// lowestFree returns the two lowest numbers not in fds, which is sorted.
func lowestFree(fds []int) (free [2]int) {
	n, found := 0, 0
	for i := 0; found < len(free); n++ {
		if i < len(fds) && fds[i] == n {
			i++
			continue
		}
		free[found] = n
		found++
	}
	return free
}

// Hole returns a range of size bytes that is at least 1 MiB away from every
// occupied one, so that the kernel neither merges nor grows into it.
func Hole(occupied []Range, size uint64) (Range, bool) {
	const (
		gap    = 1 << 20
		lowest = 1 << 28
		top    = 1<<47 - pageBytes
	)
	sorted := slices.Clone(occupied)
	slices.SortFunc(sorted, func(a, b Range) int {
		if a.Addr < b.Addr {
			return -1
		}
		return 1
	})
	at := uint64(lowest)
	for _, r := range sorted {
		if r.Addr >= top {
			break
		}
		if r.Addr > at && r.Addr-at >= size+2*gap {
			return Range{at + gap, size}, true
		}
		at = max(at, r.Addr+r.Len)
	}
	if at < top && top-at >= size+2*gap {
		return Range{at + gap, size}, true
	}
	return Range{}, false
}

// Loan is a thread borrowed for system calls, see the package documentation.
type Loan struct {
	t     *Tracee
	place *Place
	saved Regs
	mask  uint64
	slot  int
	undo  []homeCall
	pipe  *Pipe
}

// Borrow takes the thread on loan. It must be in a stop of Seize. Regs read
// before are what Return puts back, but for an interrupted rseq(2) critical
// section, which is aborted as any preemption would.
func (t *Tracee) Borrow(p *Place) (*Loan, error) {
	l := &Loan{t: t, place: p, slot: 1}
	if err := t.getRegs(&l.saved); err != nil {
		return nil, err
	}
	if err := t.AbortRseq(&l.saved); err != nil {
		return nil, err
	}
	var err error
	if l.mask, err = t.SignalMask(); err != nil {
		return nil, err
	}
	if p.slots == 1 {
		l.slot = 0
	}
	l.undo = []homeCall{{unix.SYS_MUNMAP, []uint64{p.scratch.Addr, p.scratch.Len}}}
	if err := l.arm(); err != nil {
		return nil, err
	}
	if err = t.SetSignalMask(^uint64(0)); err == nil {
		err = CallOK(l, "map scratch memory", unix.SYS_MMAP, p.scratch.Addr, p.scratch.Len, unix.PROT_READ|unix.PROT_WRITE,
			unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED_NOREPLACE, ^uint64(0), 0)
	}
	if err != nil {
		return nil, errors.Join(err, l.Return())
	}
	return l, nil
}

// arm writes the way home for the present undo list and points the thread to
// it. The slot in use is left as it is until the thread has turned away from it.
func (l *Loan) arm() error {
	slot := (l.slot + 1) % l.place.slots
	at := l.slotAddr(slot)
	code := wayHome(at, &l.saved, l.mask, l.undo)
	if len(code) > slotBytes {
		return fmt.Errorf("the way home takes %d bytes, there is room for %d", len(code), slotBytes)
	}
	if err := l.t.poke(at, code); err != nil {
		return err
	}
	regs := l.saved
	regs.setCall(at+uint64(len(syscallInsn)), 0, nil)
	if err := l.t.SetRegs(&regs); err != nil {
		return err
	}
	l.slot = slot
	return nil
}

func (l *Loan) slotAddr(slot int) uint64 { return l.place.code + uint64(slot*slotBytes) }

// Call makes a system call in the borrowed thread.
func (l *Loan) Call(nr uintptr, args ...uint64) (uint64, error) {
	return l.t.callAt(&l.saved, l.slotAddr(l.slot), nr, args)
}

// Scratch is the loan's memory in the target.
func (l *Loan) Scratch() Range { return l.place.scratch }

// Tracee is the thread on loan.
func (l *Loan) Tracee() *Tracee { return l.t }

// Saved returns the registers the thread will have again.
func (l *Loan) Saved() *Regs { return &l.saved }

// SavedMask returns the signal mask the thread will have again.
func (l *Loan) SavedMask() uint64 { return l.mask }

// Return gives the thread back as it was.
func (l *Loan) Return() error {
	if l.t.dead {
		return nil
	}
	var errs []error
	if l.pipe != nil {
		errs = append(errs, l.pipe.close())
	}
	errs = append(errs, CallOK(l, "unmap scratch memory", unix.SYS_MUNMAP, l.place.scratch.Addr, l.place.scratch.Len))
	// Back into the kernel's signal code, where an interrupted system call is
	// restarted as if nothing had been.
	errs = append(errs, l.t.interruptFromCall(), l.t.SetSignalMask(l.mask), l.t.SetRegs(&l.saved))
	for i := range l.place.slots {
		errs = append(errs, l.t.poke(l.slotAddr(i), make([]byte, slotBytes)))
	}
	return errors.Join(errs...)
}

// interruptFromCall takes the thread from a system call stop to an event stop
// without running an instruction.
func (t *Tracee) interruptFromCall() error {
	if t.inStop {
		return nil
	}
	if err := unix.PtraceInterrupt(t.TID); err != nil {
		return t.wrap("interrupt", err)
	}
	if err := unix.PtraceCont(t.TID, 0); err != nil {
		return t.wrap("interrupt", err)
	}
	return t.awaitEventStop(0)
}

// AbortRseq moves regs to the abort handler when they stand inside a
// restartable sequence, as the kernel does before a preempted thread runs on,
// see rseq(2) and struct rseq_cs in uapi linux/rseq.h.
func (t *Tracee) AbortRseq(regs *Regs) error {
	conf, err := t.RseqConfiguration()
	if err != nil || conf.Addr == 0 {
		return err
	}
	var area [16]byte
	if err := t.ReadMem(conf.Addr, area[:]); err != nil {
		return err
	}
	at := binary.LittleEndian.Uint64(area[8:])
	if at == 0 {
		return nil
	}
	var cs [32]byte
	if t.ReadMem(at, cs[:]) != nil {
		return nil // a stale pointer; the kernel will judge it
	}
	start, length := binary.LittleEndian.Uint64(cs[8:]), binary.LittleEndian.Uint64(cs[16:])
	if regs.IP()-start < length {
		regs.SetIP(binary.LittleEndian.Uint64(cs[24:]))
	}
	return nil
}

// Pipe is a pipe made in the target, to take its pages from with vmsplice(2).
type Pipe struct {
	l        *Loan
	r, w     int
	Out      *os.File // our own descriptor of the read end
	Capacity int      // bytes
}

// Pipe makes a pipe in the target of at most wantBytes capacity. Its
// descriptors are closed by Return, or by the target itself on its way home.
func (l *Loan) Pipe(wantBytes int) (*Pipe, error) {
	if l.pipe != nil {
		return l.pipe, nil
	}
	if l.place.slots < slots {
		return nil, l.t.wrap("make a pipe in it", ErrNoPlace)
	}
	r, w := l.place.fds[0], l.place.fds[1]
	base := l.undo
	l.undo = append(slices.Clone(base), homeCall{unix.SYS_CLOSE, []uint64{uint64(r)}}, homeCall{unix.SYS_CLOSE, []uint64{uint64(w)}})
	if err := l.arm(); err != nil {
		return nil, err
	}
	p := &Pipe{l: l, r: r, w: w}
	err := CallOK(l, "make a pipe", unix.SYS_PIPE2, l.place.scratch.Addr, unix.O_CLOEXEC)
	if err == nil {
		l.pipe = p
		err = p.open(wantBytes)
	}
	if err != nil {
		l.undo = base
		if l.pipe != nil {
			err = errors.Join(err, p.close())
		}
		l.pipe = nil
		return nil, errors.Join(err, l.arm())
	}
	return p, nil
}

func (p *Pipe) open(wantBytes int) error {
	var got [8]byte
	if err := p.l.t.ReadMem(p.l.place.scratch.Addr, got[:]); err != nil {
		return err
	}
	r, w := int(binary.LittleEndian.Uint32(got[:])), int(binary.LittleEndian.Uint32(got[4:]))
	if r != p.r || w != p.w {
		p.r, p.w = r, w
		return p.l.t.wrap("make a pipe", fmt.Errorf("its descriptors are %d and %d, not the lowest free", r, w))
	}
	fd, err := GetFD(p.l.t.PID, p.r)
	if err != nil {
		return err
	}
	p.Out = os.NewFile(uintptr(fd), "pipe of the target")
	_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, wantBytes)
	p.Capacity, err = unix.FcntlInt(uintptr(fd), unix.F_GETPIPE_SZ, 0)
	return os.NewSyscallError("fcntl", err)
}

func (p *Pipe) close() error {
	_, rerr := p.l.Call(unix.SYS_CLOSE, uint64(p.r))
	_, werr := p.l.Call(unix.SYS_CLOSE, uint64(p.w))
	if p.Out != nil {
		p.Out.Close()
	}
	return errors.Join(rerr, werr)
}

// Fill puts the pages of ranges into the pipe by reference and returns how many
// bytes it took; at most Capacity, and at most 1024 ranges at once.
func (p *Pipe) Fill(ranges []Range) (int, error) {
	if len(ranges) > 1024 {
		return 0, unix.EINVAL
	}
	iov := make([]byte, 0, 16*len(ranges))
	for _, r := range ranges {
		iov = binary.LittleEndian.AppendUint64(iov, r.Addr)
		iov = binary.LittleEndian.AppendUint64(iov, r.Len)
	}
	at := p.l.place.scratch.Addr
	if err := p.l.t.WriteMem(at, iov); err != nil {
		return 0, err
	}
	n, err := p.l.Call(unix.SYS_VMSPLICE, uint64(p.w), at, uint64(len(ranges)), unix.SPLICE_F_NONBLOCK)
	if err != nil {
		return 0, p.l.t.wrap("take its pages", err)
	}
	return int(n), nil
}

// GetFD copies descriptor fd of process pid, see pidfd_getfd(2).
func GetFD(pid, fd int) (int, error) {
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1, os.NewSyscallError("pidfd_open", err)
	}
	defer unix.Close(pidfd)
	n, err := unix.PidfdGetfd(pidfd, fd, 0)
	return n, os.NewSyscallError("pidfd_getfd", err)
}
