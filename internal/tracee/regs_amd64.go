package tracee

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// Supported says whether tasks can be held on this architecture.
const Supported = true

// Restart codes a system call leaves in rax for the kernel's signal code, see
// include/linux/errno.h.
const (
	erestartsys          = -512
	erestartnointr       = -513
	erestartnohand       = -514
	erestartRestartblock = -516
)

const (
	syscallInsnBytes = 2
	userCS64         = 0x33
)

// Regs are the general registers of a thread, regset NT_PRSTATUS.
type Regs struct{ unix.PtraceRegs }

// Encode returns the registers in the regset's layout.
func (r *Regs) Encode() []byte {
	b, _ := binary.Append(nil, binary.LittleEndian, &r.PtraceRegs)
	return b
}

// DecodeRegs is the inverse of Encode.
func DecodeRegs(b []byte) (*Regs, error) {
	r := new(Regs)
	if want := binary.Size(&r.PtraceRegs); len(b) != want {
		return nil, fmt.Errorf("general registers of %d bytes, but x86-64 has %d", len(b), want)
	}
	_, err := binary.Decode(b, binary.LittleEndian, &r.PtraceRegs)
	return r, err
}

// IP is the instruction pointer.
func (r *Regs) IP() uint64 { return r.Rip }

// SP is the stack pointer.
func (r *Regs) SP() uint64 { return r.Rsp }

// SetIP sets the instruction pointer.
func (r *Regs) SetIP(ip uint64) { r.Rip = ip }

// Is64 reports whether the thread runs 64-bit code.
func (r *Regs) Is64() bool { return r.Cs == userCS64 }

// Interrupted returns the number of the system call that the kernel will make
// again when the thread runs on, or -1.
func (r *Regs) Interrupted() int {
	if int64(r.Orig_rax) < 0 {
		return -1
	}
	switch int64(r.Rax) {
	case erestartsys, erestartnointr, erestartnohand, erestartRestartblock:
		return int(r.Orig_rax)
	}
	return -1
}

// Rewind changes the registers so that the thread makes an interrupted system call again. A
// call with a timeout can be continued only by restart_syscall(2), which works only in the
// thread that was interrupted: sameThread says that the registers are for that thread.
func (r *Regs) Rewind(sameThread bool) {
	if r.Interrupted() < 0 {
		return
	}
	nr := r.Orig_rax
	if int64(r.Rax) == erestartRestartblock && sameThread {
		nr = unix.SYS_RESTART_SYSCALL
	}
	r.Rip -= syscallInsnBytes
	r.Rax = nr
	r.Orig_rax = ^uint64(0)
}

// NeedsRewind reports whether the kernel can't continue the interrupted call in another
// thread than the one that made it.
func (r *Regs) NeedsRewind() bool {
	return r.Interrupted() >= 0 && int64(r.Rax) == erestartRestartblock
}

func (r *Regs) result() int64 { return int64(r.Rax) }

func (r *Regs) SetCall(ip uint64, nr uintptr, args []uint64) {
	r.Rip = ip
	r.Rax = uint64(nr)
	r.Orig_rax = ^uint64(0)
	for i, p := range []*uint64{&r.Rdi, &r.Rsi, &r.Rdx, &r.R10, &r.R8, &r.R9} {
		if i < len(args) {
			*p = args[i]
		} else {
			*p = 0
		}
	}
}

// Regs reads the general registers.
func (t *Tracee) Regs() (*Regs, error) {
	r := new(Regs)
	return r, t.ReadRegs(r)
}

func (t *Tracee) ReadRegs(r *Regs) error {
	return t.Wrap("read registers", unix.PtraceGetRegs(t.TID, &r.PtraceRegs))
}

// SetRegs sets the general registers.
func (t *Tracee) SetRegs(r *Regs) error {
	return t.Wrap("set registers", unix.PtraceSetRegs(t.TID, &r.PtraceRegs))
}

// XState reads the extended registers, the whole xsave area.
func (t *Tracee) XState() ([]byte, error) {
	buf := xstateBuffers.Get().(*[maxXState]byte)
	defer xstateBuffers.Put(buf)
	b, err := t.xstate(buf[:])
	return bytes.Clone(b), err
}

// XFeatures returns which xsave components the thread uses, see XFeatures.
func (t *Tracee) XFeatures() (inUse uint64, err error) {
	b, err := t.xstate(make([]byte, xstateFixed))
	_, inUse = XFeatures(b)
	return inUse, err
}

func (t *Tracee) xstate(buf []byte) ([]byte, error) {
	b, err := getRegset(t.TID, ntX86XState, buf)
	return b, t.Wrap("read extended registers", err)
}

// maxXState is more than the size of any CPU's xsave area, in bytes.
const maxXState = 32 << 10

var xstateBuffers = sync.Pool{New: func() any { return new([maxXState]byte) }}

// TrimXState cuts off the zeros at the end of an xsave area, of components that are
// not in use.
func TrimXState(xstate []byte) []byte {
	n := len(xstate)
	for n > xstateFixed && xstate[n-1] == 0 {
		n--
	}
	return xstate[:n]
}

// SetXState sets the extended registers.
func (t *Tracee) SetXState(b []byte) error {
	return t.Wrap("set extended registers", setRegset(t.TID, ntX86XState, b))
}

// Offsets in the xsave area of the regset, see arch/x86/include/uapi/asm/sigcontext.h
// and the Intel SDM vol. 1 §13.4.
const (
	xstateXCR0   = 464 // sw_reserved.xfeatures: the components that the kernel has enabled
	xstateHeader = 512 // XSTATE_BV: the components that are not in their initial state
	xstateFixed  = 576 // the part that every area has: the legacy registers and the header
)

// XFeatures returns which xsave components the kernel has enabled, and which of them have
// state in this area.
func XFeatures(xstate []byte) (enabled, inUse uint64) {
	if len(xstate) < xstateHeader+8 {
		return 0, 0
	}
	return binary.LittleEndian.Uint64(xstate[xstateXCR0:]), binary.LittleEndian.Uint64(xstate[xstateHeader:])
}

// SyscallInsn is the `syscall` instruction.
var SyscallInsn = []byte{0x0f, 0x05}

// asm appends instructions. None of them changes the flags.
type asm []byte

// Register numbers of the instruction encoding.
const (
	rax = iota
	rcx
	rdx
	rbx
	_
	_
	rsi
	rdi
	r8
	r9
	r10
	r11
)

func (a *asm) mov(reg byte, v uint64) {
	if v>>32 == 0 { // mov $v, the register's lower half, which clears the upper one
		if reg >= r8 {
			*a = append(*a, 0x41)
		}
		*a = append(*a, 0xb8|reg&7)
		*a = binary.LittleEndian.AppendUint32(*a, uint32(v))
		return
	}
	*a = append(*a, 0x48|reg>>3, 0xb8|reg&7) // movabs $v, reg
	*a = binary.LittleEndian.AppendUint64(*a, v)
}

// zero clears 8-byte words, as many as one byte can address.
func (a *asm) zero(r Range) {
	if r.Len == 0 {
		return
	}
	const middle = 128
	a.mov(rax, 0)
	a.mov(rdi, r.Addr+middle)
	for at := uint64(0); at < r.Len; at += 8 {
		*a = append(*a, 0x48, 0x89, 0x47, byte(at-middle)) // mov %rax, at-128(%rdi)
	}
}

func (a *asm) call(nr uintptr, args ...uint64) {
	a.mov(rax, uint64(nr))
	for i, v := range args {
		a.mov([]byte{rdi, rsi, rdx, r10, r8, r9}[i], v)
	}
	*a = append(*a, SyscallInsn...)
}

func (a *asm) jmp(to uint64) { // jmp *0(%rip), the address follows
	*a = append(*a, 0xff, 0x25, 0, 0, 0, 0)
	*a = binary.LittleEndian.AppendUint64(*a, to)
}

// HomeCall is a system call on the way home.
type HomeCall struct {
	NR   uintptr
	Args []uint64
}

// wayHome returns the code a Loan puts at address at: a `syscall` to borrow,
// then the undo, and memory to clear. See the package documentation.
func WayHome(at uint64, saved *Regs, mask uint64, undo []HomeCall, clear Range) []byte {
	home := *saved
	home.Rewind(true)
	var a asm
	a = append(a, SyscallInsn...)
	a = append(a, 0xeb, 8) // jmp over the mask
	maskAt := at + uint64(len(a))
	a = binary.LittleEndian.AppendUint64(a, mask)
	for _, c := range undo {
		a.call(c.NR, c.Args...)
	}
	a.zero(clear)
	a.call(unix.SYS_RT_SIGPROCMASK, 2, maskAt, 0, 8) // SIG_SETMASK
	for _, r := range []struct {
		reg byte
		v   uint64
	}{{rdi, home.Rdi}, {rsi, home.Rsi}, {rdx, home.Rdx}, {r10, home.R10}, {r8, home.R8}, {r9, home.R9},
		{rcx, home.Rcx}, {r11, home.R11}, {rbx, home.Rbx}, {rax, home.Rax}} {
		a.mov(r.reg, r.v)
	}
	a.jmp(home.Rip)
	return a
}

// LoopCode jumps to itself. It makes no system call and uses no memory or register, so no
// thread, however confined, can do anything there.
var LoopCode = []byte{0xeb, 0xfe}

const archMapVDSO64 = 0x2003 // arch/x86/include/uapi/asm/prctl.h

// PlaceVDSOCall is the system call that maps vdso and vvar at addr, where its first
// page goes.
func PlaceVDSOCall(addr uint64) (nr uintptr, args []uint64) {
	return unix.SYS_ARCH_PRCTL, []uint64{archMapVDSO64, addr}
}
