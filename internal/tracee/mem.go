package tracee

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
	"ckpt/internal/proc"
)

// Range is a stretch of a process's memory.
type Range struct {
	Addr uint64
	Len  uint64
}

// ReadMem fills buf from the thread's memory at addr.
func (t *Tracee) ReadMem(addr uint64, buf []byte) error {
	if len(buf) == 0 {
		return nil
	}
	n, err := vmRead(t.TID, addr, buf)
	if err == nil && n != len(buf) {
		err = unix.EFAULT
	}
	if err != nil {
		return t.Wrap(fmt.Sprintf("read %d bytes at %#x", len(buf), addr), err)
	}
	return nil
}

// WriteMem writes buf to the thread's memory at addr, which must be writable for the
// thread itself.
func (t *Tracee) WriteMem(addr uint64, buf []byte) error {
	if len(buf) == 0 {
		return nil
	}
	n, err := vmWrite(t.TID, addr, buf)
	if err == nil && n != len(buf) {
		err = unix.EFAULT
	}
	if err != nil {
		return t.Wrap(fmt.Sprintf("write %d bytes at %#x", len(buf), addr), err)
	}
	return nil
}

// OpenMem opens the process's memory for reading and writing regardless of protection:
// pages of private mappings are copied first, as for a debugger's breakpoint.
func (t *Tracee) OpenMem() (*os.File, error) {
	return os.OpenFile(proc.Path(t.TID, "mem"), os.O_RDWR, 0)
}

// Poke writes buf at addr regardless of protection. The right to trace a process of another
// user does not imply the right to open its files in /proc for writing.
func (t *Tracee) Poke(addr uint64, buf []byte) error {
	mem, err := t.OpenMem()
	switch {
	case err == nil:
		_, err = mem.WriteAt(buf, int64(addr))
		err = errors.Join(err, mem.Close())
	case errors.Is(err, unix.EACCES):
		_, err = unix.PtracePokeData(t.TID, uintptr(addr), buf)
	}
	if err != nil {
		return t.Wrap(fmt.Sprintf("write %d bytes at %#x", len(buf), addr), err)
	}
	return nil
}

// Hole returns a range of size bytes that is at least 1 MiB away from every occupied one, so
// that the kernel neither merges a mapping with it nor grows one into it.
func Hole(occupied []Range, size uint64) (Range, bool) {
	const (
		gap    = 1 << 20
		lowest = 1 << 28
		top    = 1<<47 - abi.PageBytes
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

// GetFD copies descriptor fd of thread tid, see pidfd_getfd(2).
func GetFD(tid, fd int) (n int, err error) {
	var g FDGetter
	n, err = g.Get(tid, fd)
	return n, errors.Join(err, g.Close())
}

// FDGetter copies descriptors of threads that can't end meanwhile. It keeps the pidfd of
// the last one, which may have thousands.
// Several threads may use it at the same time.
type FDGetter struct {
	mu    sync.Mutex
	tid   int // 0: none
	pidfd int
}

// Get is GetFD.
func (g *FDGetter) Get(tid, fd int) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.tid != tid {
		if err := errors.Join(g.close(), g.open(tid)); err != nil {
			return -1, err
		}
	}
	n, err := unix.PidfdGetfd(g.pidfd, fd, 0)
	return n, os.NewSyscallError("pidfd_getfd", err)
}

func (g *FDGetter) open(tid int) error {
	pidfd, err := unix.PidfdOpen(tid, 0)
	if err == unix.EINVAL || err == unix.ENOENT { // not the first thread of a process
		pidfd, err = unix.PidfdOpen(tid, unix.PIDFD_THREAD)
	}
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	g.tid, g.pidfd = tid, pidfd
	return nil
}

// Close drops the pidfd that it keeps.
func (g *FDGetter) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.close()
}

func (g *FDGetter) close() error {
	if g.tid == 0 {
		return nil
	}
	g.tid = 0
	return os.NewSyscallError("close", unix.Close(g.pidfd))
}
