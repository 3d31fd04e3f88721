package tracee

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
	"ckpt/internal/proc"
)

// VDSO returns the code that this kernel maps into every process, see vdso(7); nil if there
// is none.
func VDSO() ([]byte, error) {
	own, err := OwnVDSO()
	return own.Text, err
}

// KernelVDSO is what a kernel maps into each process: the pages of its data (vvar), and
// behind them its code, the vdso.
type KernelVDSO struct {
	Text []byte // the code, whole pages; nil if there is none
	At   uint64 // where the code begins, from the beginning of the data
}

// Len is the length of data and code.
func (v *KernelVDSO) Len() uint64 { return v.At + uint64(len(v.Text)) }

// OwnVDSO is this kernel's. It is read once: it is the same in all processes.
var OwnVDSO = sync.OnceValues(readOwnVDSO)

func readOwnVDSO() (own KernelVDSO, err error) {
	maps, err := proc.ReadMaps(os.Getpid())
	if err != nil {
		return own, err
	}
	begin, end := uint64(0), uint64(0)
	for _, m := range maps {
		if !IsVDSO(&m) {
			continue
		}
		if m.Start != end {
			begin = m.Start
		}
		end = m.End
		if m.Name() != vdsoName {
			continue
		}
		mem, err := os.Open("/proc/self/mem")
		if err != nil {
			return own, err
		}
		defer mem.Close()
		own = KernelVDSO{make([]byte, m.Len()), m.Start - begin}
		_, err = mem.ReadAt(own.Text, int64(m.Start))
		return own, err
	}
	return own, nil
}

const vdsoName = "[vdso]"

// IsVDSO reports whether the kernel mapped its vdso or the data of that.
func IsVDSO(m *proc.Mapping) bool {
	name := m.Name()
	return name == vdsoName || strings.HasPrefix(name, "[vvar")
}

// Types of the auxiliary vector, see getauxval(3). auxOtherVDSO is ours: the program has
// the vdso of another kernel, at AT_SYSINFO_EHDR, and this is where the kernel's own is,
// plus the length of the other in pages. Programs ignore what they don't know.
const (
	auxSysinfoEHDR = 33
	auxOtherVDSO   = 0x636b7074
)

// FindVDSO finds out from a process's auxiliary vector where the kernel's vdso is, 0 if it
// has none, and where the program has one of another kernel.
func FindVDSO(auxv []byte) (own uint64, other Range) {
	words := abi.Words(auxv)
	seen := uint64(0)
	for ; len(words) >= 2; words = words[2:] {
		switch words[0] {
		case auxSysinfoEHDR:
			seen = words[1]
		case auxOtherVDSO:
			own, other.Len = words[1]&^(abi.PageBytes-1), words[1]%abi.PageBytes*abi.PageBytes
		}
	}
	if other.Len == 0 {
		return seen, Range{}
	}
	return own, Range{seen, other.Len}
}

// MovedVDSO returns an auxiliary vector that says where the kernel's vdso is of a program
// that has another one, of so many bytes. Without room for that, it is returned as it is.
func MovedVDSO(auxv []byte, own, otherLen uint64) []byte {
	words := abi.Words(auxv)
	entry := own + otherLen/abi.PageBytes
	for i := 0; i+1 < len(words); i += 2 {
		switch words[i] {
		case auxOtherVDSO:
			words[i+1] = entry
			return abi.Bytes(words...)
		case 0:
			if i+4 > maxAuxWords {
				return auxv
			}
			return abi.Bytes(append(words[:i], auxOtherVDSO, entry, 0, 0)...)
		}
	}
	return auxv
}

// maxAuxWords is AT_VECTOR_SIZE of the oldest kernels, see linux/mm_types.h.
const maxAuxWords = 48

// VDSOFunction is a function of a vdso.
type VDSOFunction struct {
	Name string
	At   uint64 // from the beginning of the vdso
	Len  uint64
}

var errNoVDSO = errors.New("it is not a vdso")

// elf64 is an ELF file of which nothing is believed.
type elf64 []byte

// at returns n bytes at an offset, or nil.
func (e elf64) at(offset, n uint64) []byte {
	if offset > uint64(len(e)) || n > uint64(len(e))-offset {
		return nil
	}
	return e[offset : offset+n]
}

// number returns the little endian number of n bytes at an offset, or 0.
func (e elf64) number(offset, n uint64) (v uint64) {
	b := e.at(offset, n)
	for i := range b {
		v |= uint64(b[i]) << (8 * i)
	}
	return v
}

// VDSOFunctions finds the functions of a vdso as a program does: by its dynamic section, see
// elf(5). A vdso is mapped as the file is, so addresses are offsets.
func VDSOFunctions(text []byte) ([]VDSOFunction, error) {
	const (
		headerBytes, programBytes, symbolBytes = 64, 56, 24
		magic, typeDynamic                     = 0x464c457f, 2
		tagHash, tagStrings, tagSymbols        = 4, 5, 6
		function, typeMask                     = 2, 15
	)
	e := elf64(text)
	if e.at(0, headerBytes) == nil || e.number(0, 4) != magic || e.number(4, 2) != 0x0102 /* 64 bits, little endian */ {
		return nil, errNoVDSO
	}
	tags := map[uint64]uint64{}
	for i := range e.number(56, 2) {
		p := e.number(32, 8) + i*programBytes
		if e.at(p, programBytes) == nil {
			return nil, errNoVDSO
		}
		if e.number(p, 4) != typeDynamic {
			continue
		}
		for d := e.number(p+8, 8); e.at(d, 16) != nil && e.number(d, 8) != 0; d += 16 {
			tags[e.number(d, 8)] = e.number(d+8, 8)
		}
		break
	}
	symbols, strings := tags[tagSymbols], tags[tagStrings]
	if symbols == 0 || strings == 0 || tags[tagHash] == 0 {
		return nil, errNoVDSO
	}
	var all []VDSOFunction
	for i := range e.number(tags[tagHash]+4, 4) {
		s := symbols + i*symbolBytes
		if e.at(s, symbolBytes) == nil {
			return nil, errNoVDSO
		}
		if e.number(s+4, 1)&typeMask != function || e.number(s+6, 2) == 0 {
			continue
		}
		f := VDSOFunction{e.string(strings + e.number(s, 4)), e.number(s+8, 8), e.number(s+16, 8)}
		if f.Name == "" || f.At < headerBytes || e.at(f.At, f.Len) == nil {
			return nil, errNoVDSO
		}
		all = append(all, f)
	}
	if len(all) == 0 {
		return nil, errNoVDSO
	}
	return all, nil
}

// string returns the name at an offset, or "".
func (e elf64) string(offset uint64) string {
	const longest = 64
	if offset >= uint64(len(e)) {
		return ""
	}
	name, _, whole := strings.Cut(string(e[offset:min(offset+longest, uint64(len(e)))]), "\x00")
	if !whole {
		return ""
	}
	return name
}

// LeadVDSO returns a vdso of another kernel whose functions lead to those of this kernel's,
// which is at address own. A function that this kernel does not have makes its system call.
func LeadVDSO(text []byte, own uint64) ([]byte, error) {
	here, err := OwnVDSO()
	if err != nil {
		return nil, err
	}
	target := map[string]uint64{}
	if here.Text != nil {
		functions, err := VDSOFunctions(here.Text)
		if err != nil {
			return nil, err
		}
		for _, f := range functions {
			target[f.Name] = own + f.At
		}
	}
	return leadVDSO(text, target)
}

// leadVDSO leads the functions of a vdso to others, by their names.
func leadVDSO(text []byte, target map[string]uint64) ([]byte, error) {
	functions, err := VDSOFunctions(text)
	if err != nil {
		return nil, err
	}
	led := append([]byte(nil), text...)
	taken := map[uint64]VDSOFunction{} // by each byte
	for _, f := range functions {
		code := vdsoJump(target[f.Name])
		if target[f.Name] == 0 {
			code = vdsoCall(f.Name)
		}
		if uint64(len(code)) > f.Len || len(code) == 0 {
			return nil, fmt.Errorf("its function %s is too short (%d bytes) to be led elsewhere", f.Name, f.Len)
		}
		for i := range uint64(len(code)) {
			if g, ok := taken[f.At+i]; ok && g.At != f.At {
				return nil, fmt.Errorf("its functions %s and %s overlap", g.Name, f.Name)
			}
			taken[f.At+i] = f
		}
		copy(led[f.At:], code)
	}
	return led, nil
}

// VDSOCode returns where the code of vdsos is in a process, by its auxiliary vector.
func VDSOCode(auxv []byte) ([]Range, error) {
	text, err := VDSO()
	own, other := FindVDSO(auxv)
	if err != nil || own == 0 {
		return nil, err
	}
	code := []Range{{own, uint64(len(bytes.TrimRight(text, "\x00")))}}
	if other.Len > 0 {
		code = append(code, other)
	}
	return code, nil
}

const (
	leaveTries = 400
	leaveTime  = 100 * time.Millisecond
)

// LeaveVDSO lets a thread that is inside a vdso run until it is not: what that is on another
// kernel it can't go on with. A signal handler that interrupted it returns there. A thread that
// is to stand still, or does not come out in time, stays inside.
func (t *Tracee) LeaveVDSO(code []Range, timeout time.Duration) (ran, inside bool, err error) {
	begin := time.Now()
	for n := 0; ; n++ {
		regs, err := t.Regs()
		if err != nil {
			return ran, false, err
		}
		inside = isIn(regs.IP(), code) || t.returnsTo(regs.SP(), code)
		if !inside || t.GroupStop != 0 || n >= leaveTries && time.Since(begin) > leaveTime || time.Since(begin) > timeout {
			return ran, inside, nil
		}
		if err := unix.PtraceCont(t.TID, 0); err != nil {
			return true, inside, t.Wrap("continue", err)
		}
		ran = true
		time.Sleep(time.Duration(20+n%50) * time.Microsecond) // not in step with what it does
		if err := t.StopAgain(timeout); err != nil {
			return true, inside, err
		}
	}
}

func isIn(addr uint64, ranges []Range) bool {
	return slices.ContainsFunc(ranges, func(r Range) bool { return addr-r.Addr < r.Len })
}

// returnsTo reports whether there is a signal frame on a thread's stack from which it returns
// into the code.
func (t *Tracee) returnsTo(sp uint64, code []Range) bool {
	const most = 16 << 10
	buf := make([]byte, most)
	n, err := vmRead(t.TID, sp, buf) // up to the end of the mapping
	if err != nil {
		return false
	}
	words := abi.Words(buf[:max(n, 0)])
	for i, w := range words {
		if i+2 < len(words) && isIn(w, code) && inSignalFrame(words[i+1], words[i+2]) {
			return true
		}
	}
	return false
}
