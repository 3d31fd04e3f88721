package tracee

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
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
		return t.wrap(fmt.Sprintf("read %d bytes at %#x", len(buf), addr), err)
	}
	return nil
}

// WriteMem writes buf to the thread's memory at addr, which it must be allowed
// to write itself.
func (t *Tracee) WriteMem(addr uint64, buf []byte) error {
	if len(buf) == 0 {
		return nil
	}
	n, err := vmWrite(t.TID, addr, buf)
	if err == nil && n != len(buf) {
		err = unix.EFAULT
	}
	if err != nil {
		return t.wrap(fmt.Sprintf("write %d bytes at %#x", len(buf), addr), err)
	}
	return nil
}

// OpenMem opens the process's memory for writing past page protection: pages
// of private mappings are copied first, as for a debugger's breakpoint.
func (t *Tracee) OpenMem() (*os.File, error) {
	return os.OpenFile("/proc/"+strconv.Itoa(t.TID)+"/mem", os.O_RDWR, 0)
}

// poke writes buf at addr whatever the protection there. Who may trace a process
// of another user may not always open its files for writing.
func (t *Tracee) poke(addr uint64, buf []byte) error {
	mem, err := t.OpenMem()
	switch {
	case err == nil:
		_, err = mem.WriteAt(buf, int64(addr))
		err = errors.Join(err, mem.Close())
	case errors.Is(err, unix.EACCES):
		_, err = unix.PtracePokeData(t.TID, uintptr(addr), buf)
	}
	if err != nil {
		return t.wrap(fmt.Sprintf("write %d bytes at %#x", len(buf), addr), err)
	}
	return nil
}
