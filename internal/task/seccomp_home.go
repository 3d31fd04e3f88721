package task

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
	"ckpt/internal/proc"
	"ckpt/internal/tracee"
	"ckpt/stream/record"
)

// goesHome reports whether a thread under these filters would survive the death of
// ckpt-collect during a Loan, see SuspendSeccomp: whether they let it set its signal
// mask, and let it unmap memory or at least refuse that with an error.
func goesHome(filters []record.SeccompFilter) bool {
	for _, f := range filters {
		unmap := verdict(f.Program, unix.SYS_MUNMAP, 1<<20, abi.PageBytes)
		mask := verdict(f.Program, unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, 1<<20, 0, abi.SigsetBytes)
		switch unmap {
		case unix.SECCOMP_RET_KILL_PROCESS, unix.SECCOMP_RET_KILL_THREAD, unix.SECCOMP_RET_TRAP:
			return false
		}
		if mask != unix.SECCOMP_RET_ALLOW && mask != unix.SECCOMP_RET_LOG {
			return false
		}
	}
	return true
}

// Survives reports whether a thread survives making a system call under its seccomp
// filters, even if they refuse it with an error.
func Survives(t *tracee.Tracee, nr uintptr, args ...uint64) (bool, error) {
	status, err := proc.ReadThreadStatus(t.PID, t.TID)
	if err != nil || status.Seccomp == unix.SECCOMP_MODE_DISABLED {
		return err == nil, err
	}
	if status.Seccomp == unix.SECCOMP_MODE_STRICT {
		return false, nil
	}
	filters, err := filtersOf(t.PID, t.TID)
	if err != nil {
		return false, nil // the thread can't be saved anyway, see collectSeccomp
	}
	for _, f := range filters {
		switch verdict(f.Program, nr, args...) {
		case unix.SECCOMP_RET_KILL_PROCESS, unix.SECCOMP_RET_KILL_THREAD, unix.SECCOMP_RET_TRAP:
			return false, nil
		}
	}
	return true, nil
}

// verdict runs a filter on a system call as the kernel does and returns the action.
// For a program that the kernel would not accept that is to kill.
func verdict(program []byte, nr uintptr, args ...uint64) uint32 {
	data := make([]byte, abi.SeccompDataBytes)
	binary.LittleEndian.PutUint32(data, uint32(nr))
	binary.LittleEndian.PutUint32(data[4:], unix.AUDIT_ARCH_X86_64)
	for i, v := range args {
		binary.LittleEndian.PutUint64(data[16+8*i:], v)
	}
	m := machine{data: data}
	for pc := 0; pc >= 0 && pc+1 <= len(program)/sockFilterBytes; pc++ {
		insn := program[pc*sockFilterBytes:]
		code, k := binary.LittleEndian.Uint16(insn), binary.LittleEndian.Uint32(insn[4:])
		switch code & 7 {
		case unix.BPF_RET:
			if code&0x18 == unix.BPF_A {
				k = m.a
			}
			return k & unix.SECCOMP_RET_ACTION_FULL
		case unix.BPF_JMP:
			pc += m.jump(code, k, int(insn[2]), int(insn[3]))
		default:
			m.step(code, k)
		}
	}
	return unix.SECCOMP_RET_KILL_PROCESS
}

// machine is a classic BPF machine, see Documentation/networking/filter.rst.
type machine struct {
	data []byte
	a, x uint32
	mem  [16]uint32
}

// jump returns how many instructions to skip.
func (m *machine) jump(code uint16, k uint32, yes, no int) int {
	if code&0xf0 == unix.BPF_JA {
		return int(k & 0xffff) // a program has at most 4096
	}
	if code&unix.BPF_X != 0 {
		k = m.x
	}
	var is bool
	switch code & 0xf0 {
	case unix.BPF_JEQ:
		is = m.a == k
	case unix.BPF_JGT:
		is = m.a > k
	case unix.BPF_JGE:
		is = m.a >= k
	case unix.BPF_JSET:
		is = m.a&k != 0
	}
	if is {
		return yes
	}
	return no
}

// step runs an instruction that is neither a jump nor the end.
func (m *machine) step(code uint16, k uint32) {
	switch code & 7 {
	case unix.BPF_LD:
		m.a = m.load(code, k)
	case unix.BPF_LDX:
		m.x = m.load(code, k)
	case unix.BPF_ST:
		m.mem[k%16] = m.a
	case unix.BPF_STX:
		m.mem[k%16] = m.x
	case unix.BPF_ALU:
		m.calculate(code, k)
	case unix.BPF_MISC:
		if code&0xf8 == unix.BPF_TXA {
			m.a = m.x
		} else {
			m.x = m.a
		}
	}
}

func (m *machine) load(code uint16, k uint32) uint32 {
	switch code & 0xe0 {
	case unix.BPF_IMM:
		return k
	case unix.BPF_MEM:
		return m.mem[k%16]
	case unix.BPF_LEN:
		return uint32(len(m.data))
	}
	if k > uint32(len(m.data)-4) {
		return 0
	}
	return binary.LittleEndian.Uint32(m.data[k:])
}

func (m *machine) calculate(code uint16, k uint32) {
	if code&unix.BPF_X != 0 {
		k = m.x
	}
	switch code & 0xf0 {
	case unix.BPF_ADD:
		m.a += k
	case unix.BPF_SUB:
		m.a -= k
	case unix.BPF_MUL:
		m.a *= k
	case unix.BPF_DIV:
		if k != 0 {
			m.a /= k
		}
	case unix.BPF_OR:
		m.a |= k
	case unix.BPF_AND:
		m.a &= k
	case unix.BPF_XOR:
		m.a ^= k
	case unix.BPF_LSH:
		m.a <<= k
	case unix.BPF_RSH:
		m.a >>= k
	case unix.BPF_NEG:
		m.a = -m.a
	}
}
