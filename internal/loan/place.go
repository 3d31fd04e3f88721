package loan

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/tracee"
)

// Place is where a Loan has room in an address space.
type Place struct {
	code    uint64       // zero bytes at the end of an executable mapping
	slots   int          // how many times slotBytes fits there
	ask     uint64       // where AskCode fits before that; 0 if it does not
	scratch tracee.Range // a hole between mappings, or spare bytes of the stack
	tight   bool         // scratch is spare bytes of the stack
	stack   tracee.Range // of the first thread
	fds     [2]int       // the numbers the next two descriptors will get
	caught  uint64       // the signals that the process catches
	mem     *os.File
	written bool // AskCode has been written
}

// poke writes to the place's code.
func (p *Place) poke(t *tracee.Tracee, at uint64, b []byte) (err error) {
	if p.mem == nil {
		if p.mem, err = t.OpenMem(); err != nil { // the right to trace it may not be enough
			p.mem = nil
			return t.Poke(at, b)
		}
	}
	if _, err := p.mem.WriteAt(b, int64(at)); err != nil {
		return t.Wrap(fmt.Sprintf("write %d bytes at %#x", len(b), at), err)
	}
	return nil
}

// clear restores the bytes of the place. No thread may be there any more.
func (p *Place) clear(t *tracee.Tracee) error {
	at, end := p.code, p.code+uint64(p.slots*slotBytes)
	if p.ask != 0 {
		at = p.ask
	}
	p.written = false
	return errors.Join(p.poke(t, at, make([]byte, end-at)), p.close())
}

func (p *Place) close() error {
	if p.mem == nil {
		return nil
	}
	err := p.mem.Close()
	p.mem = nil
	return err
}

// Loop is where tracee.LoopCode has room: in front of all code of loans, and still at a distance from what is in
// use.
func (p *Place) Loop() uint64 {
	at := p.code
	if p.ask != 0 {
		at = p.ask
	}
	return at - uint64(len(tracee.LoopCode))
}

// Roomy reports whether there is room for CallAndBack.
func (p *Place) Roomy() bool { return p.slots >= slots }

// FindPlace finds the Place of a process for Loans. The process must be stopped; caught are
// the signals that it catches.
func FindPlace(t *tracee.Tracee, maps []proc.Mapping, fds []int, caught uint64) (*Place, error) {
	p := &Place{caught: caught}
	exec := make([]proc.Mapping, 0, 8)
	occupied := make([]tracee.Range, len(maps))
	for i, m := range maps {
		occupied[i] = tracee.Range{Addr: m.Start, Len: m.End - m.Start}
		if m.Name() == "[stack]" && m.Prot&unix.PROT_WRITE != 0 && !m.Shared {
			p.stack = occupied[i]
		}
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
			zeroTail(t, m, p)
		}
	}
	if p.slots == 0 {
		return nil, t.Wrap("find room for system calls", ErrNoPlace)
	}
	var ok bool
	if p.scratch, ok = tracee.Hole(occupied, scratchBytes); !ok {
		return nil, t.Wrap("find room for system calls", errors.New("its address space is full"))
	}
	p.fds = lowestFree(fds)
	if !knowsItsID(t) {
		p.ask = 0
	}
	return p, nil
}

// knowsItsID reports whether the thread's ids mean the same to itself as to us: in another
// pid namespace they name another task, or none.
func knowsItsID(t *tracee.Tracee) bool {
	own, err := ownPIDNamespace()
	if err != nil {
		return false
	}
	its, err := proc.Namespace(t.PID, t.TID, pidNamespace)
	return err == nil && its == own
}

const pidNamespace = "pid"

var ownPIDNamespace = sync.OnceValues(func() (uint64, error) {
	return proc.Namespace(os.Getpid(), os.Getpid(), pidNamespace)
})

// TightBytes is how much memory a loan that is Tight has.
const TightBytes = 192

// toClear is the memory of the target that must become zero again.
func (p *Place) toClear() tracee.Range {
	if p.tight {
		return p.scratch
	}
	return tracee.Range{}
}

// spareStack finds zero bytes at the low end of a process's stack. As long as they are
// zero, the program has not used them: the kernel makes a stack larger than necessary, and
// so do calls that have returned.
func spareStack(t *tracee.Tracee, stack tracee.Range, sp uint64) (tracee.Range, bool) {
	const lowest, redZone = 4 * pageBytes, 4 * pageBytes // below the stack pointer
	end := min(stack.Len, lowest)
	if sp > stack.Addr && sp-stack.Addr < stack.Len {
		end = min(end, max(sp-stack.Addr, redZone)-redZone)
	}
	b := make([]byte, end)
	if t.ReadMem(stack.Addr, b) != nil {
		return tracee.Range{}, false
	}
	at := bytes.Index(b, make([]byte, TightBytes+7)) // 7 more to align it
	if at < 0 {
		return tracee.Range{}, false
	}
	return tracee.Range{Addr: stack.Addr + uint64(at+7)&^7, Len: TightBytes}, true
}

// zeroTail makes the end of m the place for code if it has more room than what p has.
func zeroTail(t *tracee.Tracee, m proc.Mapping, p *Place) {
	page := make([]byte, pageBytes)
	if m.Name() == "[vdso]" {
		// It is the same in all processes. Bytes that differ in this one were left by an
		// earlier loan whose tracer was killed.
		own, err := tracee.VDSO()
		if err != nil || uint64(len(own)) != m.Len() {
			return
		}
		copy(page, own[len(own)-pageBytes:])
	} else if t.ReadMem(m.End-pageBytes, page) != nil {
		return
	}
	// Keep a distance of 16 bytes to the bytes in use.
	free := len(page) - len(bytes.TrimRight(page, "\x00")) - 16
	if n := min(free/slotBytes, slots); n > p.slots {
		p.slots, p.code, p.ask = n, m.End-uint64(n*slotBytes), 0
		if len(tracee.AskCode) > 0 && free-n*slotBytes >= len(tracee.AskCode) {
			p.ask = p.code - uint64(len(tracee.AskCode))
		}
	}
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
