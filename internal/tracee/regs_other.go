//go:build !amd64

package tracee

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// Supported says whether tasks can be held on this architecture.
const Supported = false

// ErrArch: the registers of this architecture are not known here.
var ErrArch = errors.New("tasks can be held on x86-64 only; streams and images can be handled here all the same")

// Regs are the general registers of a thread.
type Regs struct{}

// Encode returns the registers in the regset's layout.
func (r *Regs) Encode() []byte { return nil }

// DecodeRegs is the inverse of Encode.
func DecodeRegs([]byte) (*Regs, error) { return nil, ErrArch }

// IP is the instruction pointer.
func (r *Regs) IP() uint64 { return 0 }

// SP is the stack pointer.
func (r *Regs) SP() uint64 { return 0 }

// SetIP sets the instruction pointer.
func (r *Regs) SetIP(uint64) {}

// Is64 reports whether the thread runs 64-bit code.
func (r *Regs) Is64() bool { return false }

// Interrupted returns the number of the system call that will be made again, or -1.
func (r *Regs) Interrupted() int { return -1 }

// Rewind changes the registers so that an interrupted system call is made again.
func (r *Regs) Rewind(bool) {}

// NeedsRewind reports whether Rewind is needed in another thread.
func (r *Regs) NeedsRewind() bool { return false }

// UnknownWait reports whether the thread is in a call that could not be found out.
func (r *Regs) UnknownWait() bool { return false }

// RecallWait finds out in which call, interrupted before, a thread is.
func (t *Tracee) RecallWait(time.Duration) (ran bool, err error) { return false, ErrArch }

func (r *Regs) result() int64                     { return 0 }
func (r *Regs) SetCall(uint64, uintptr, []uint64) {}
func (r *Regs) SetSelf(int, int)                  {}
func (r *Regs) SetVector(uint64, uint64, uint64)  {}
func (r *Regs) LastResult() int64                 { return 0 }
func (r *Regs) NextEntry() uint64                 { return 0 }
func (r *Regs) SetAsk(uint64, uint64)             {}

// Regs reads the general registers.
func (t *Tracee) Regs() (*Regs, error) { return nil, ErrArch }
func (t *Tracee) ReadRegs(*Regs) error { return ErrArch }

// SetRegs sets the general registers.
func (t *Tracee) SetRegs(*Regs) error { return ErrArch }

// XState reads the extended registers.
func (t *Tracee) XState() ([]byte, error) { return nil, ErrArch }

// XFeatures returns which extended components the thread uses.
func (t *Tracee) XFeatures() (uint64, error) { return 0, ErrArch }

// TrimXState cuts off what is not in use.
func TrimXState(xstate []byte) []byte { return xstate }

// SetXState sets the extended registers.
func (t *Tracee) SetXState([]byte) error { return ErrArch }

// XFeatures returns which extended components are enabled and in use.
func XFeatures([]byte) (enabled, inUse uint64) { return 0, 0 }

var SyscallInsn, VectorCode, AskCode, LoopCode []byte

const VectorEnd, AskedAt = 0, 0

type HomeCall struct {
	NR   uintptr
	Args []uint64
}

func WayHome(uint64, *Regs, uint64, []HomeCall, Range) []byte { return nil }

// noCall is one that no kernel has.
const noCall = ^uintptr(0)

// ComponentNames names none.
func ComponentNames(uint64) []string { return nil }

const RightsComponent, FixedComponents uint64 = 0, 0

// FitXState has nothing to fit.
func FitXState([]byte, int, uint64) []byte { return nil }

func vdsoJump(uint64) []byte { return nil }

func vdsoCall(string) []byte { return nil }

func inSignalFrame(uint64, uint64) bool { return false }

// PlaceVDSOCall is none.
func PlaceVDSOCall(uint64) (nr uintptr, args []uint64) { return noCall, nil }

// HasTiles: there are no tiles.
func HasTiles([]byte) bool { return false }

// TilesQuery asks nothing.
var TilesQuery Query

// AllowsTiles: there are no tiles.
func (a *Answer) AllowsTiles() bool { return false }

// AllowTilesCall is none.
func AllowTilesCall() (nr uintptr, args []uint64) { return noCall, nil }

// UseTiles fails.
func (t *Tracee) UseTiles(*Regs, uint64, uint64) error { return ErrArch }

// TilesHere returns an error: no process here can use tiles.
func TilesHere() error { return ErrArch }

// CloneCalls are the system calls that make a child and may wait for it.
var CloneCalls []int

// Wait is a system call that waits for a time.
type Wait struct {
	NR   int
	Left time.Duration
}

// HideStop has nothing to hide.
func (t *Tracee) HideStop() error { return nil }

// TimeLeft knows no waits.
func (t *Tracee) TimeLeft(*Regs, time.Duration) (*Wait, error) { return nil, nil }

// ResumeWait fails.
func (t *Tracee) ResumeWait(*Regs, uint64, uint64, *Wait, *Regs) error { return ErrArch }

// AwaitedTask knows no waits.
func (r *Regs) AwaitedTask() int { return 0 }

// AwaitsPI knows no waits.
func (r *Regs) AwaitsPI() bool { return false }

// MaxLDTBytes: there are no segment descriptors.
const MaxLDTBytes = 0

// AnyLDT: there are no segment descriptors.
func AnyLDT() Query { return Query{NR: unix.SYS_GETPID} }

// ReadLDT finds no segment descriptors.
func ReadLDT(Caller) ([]byte, error) { return nil, nil }

// WriteLDT has none to write.
func WriteLDT(Caller, []byte) error { return ErrArch }
