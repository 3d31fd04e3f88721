package tracee

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
)

// Requests and options that x/sys/unix does not have, see ptrace(2).
const (
	ptraceGetSigmask           = 0x420a
	ptraceSetSigmask           = 0x420b
	ptracePeekSiginfo          = 0x4209
	ptraceGetRseqConfiguration = 0x420f
	ptraceGetUserDispatch      = 0x4211
	ptraceSeccompGetFilter     = 0x420c
	ptraceSeccompGetMetadata   = 0x420d
	OptionSuspendSeccomp       = 1 << 21

	peekSiginfoShared = 1
	ntX86XState       = 0x202
)

func ptrace(req, tid int, addr uintptr, data unsafe.Pointer) (uintptr, error) {
	for {
		n, _, e := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(req), uintptr(tid), addr, uintptr(data), 0, 0)
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return n, e
		}
		return n, nil
	}
}

func ptraceNum(req, tid int, addr, data uintptr) error {
	_, _, e := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(req), uintptr(tid), addr, data, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

// seize may wait long, see Group, so it lets Go's scheduler know.
func seize(tid int, options uintptr) error {
	_, _, e := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(tid), 0, options, 0, 0)
	if e != 0 {
		return e
	}
	return nil
}

func detach(tid int, sig unix.Signal) error {
	return ptraceNum(unix.PTRACE_DETACH, tid, 0, uintptr(sig))
}

func getSigmask(tid int) (mask uint64, err error) {
	_, err = ptrace(ptraceGetSigmask, tid, 8, unsafe.Pointer(&mask))
	return mask, err
}

func setSigmask(tid int, mask uint64) error {
	_, err := ptrace(ptraceSetSigmask, tid, 8, unsafe.Pointer(&mask))
	return err
}

// getRegset reads a register set into buf, see PTRACE_GETREGSET, and returns the part of
// buf that was filled.
func getRegset(tid, set int, buf []byte) ([]byte, error) {
	iov := unix.Iovec{Base: &buf[0]}
	iov.SetLen(len(buf))
	if _, err := ptrace(unix.PTRACE_GETREGSET, tid, uintptr(set), unsafe.Pointer(&iov)); err != nil {
		return nil, err
	}
	return buf[:iov.Len], nil
}

func setRegset(tid, set int, buf []byte) error {
	if len(buf) == 0 {
		return unix.EINVAL
	}
	iov := unix.Iovec{Base: &buf[0]}
	iov.SetLen(len(buf))
	_, err := ptrace(unix.PTRACE_SETREGSET, tid, uintptr(set), unsafe.Pointer(&iov))
	return err
}

// peekSiginfo returns up to 32 queued siginfo_t, from number off on.
func peekSiginfo(tid int, off uint64, shared bool) ([][]byte, error) {
	args := struct { // struct ptrace_peeksiginfo_args, uapi linux/ptrace.h
		off   uint64
		flags uint32
		nr    int32
	}{off: off, nr: 32}
	if shared {
		args.flags = peekSiginfoShared
	}
	buf := make([]byte, 32*abi.SiginfoBytes)
	n, err := ptrace(ptracePeekSiginfo, tid, uintptr(unsafe.Pointer(&args)), unsafe.Pointer(&buf[0]))
	if err != nil {
		return nil, err
	}
	infos := make([][]byte, n)
	for i := range infos {
		infos[i] = buf[i*abi.SiginfoBytes : (i+1)*abi.SiginfoBytes]
	}
	return infos, nil
}

// Siginfo returns the siginfo_t of the signal for which a thread has stopped, or nil.
func Siginfo(tid int) []byte {
	info := make([]byte, abi.SiginfoBytes)
	if _, err := ptrace(unix.PTRACE_GETSIGINFO, tid, 0, unsafe.Pointer(&info[0])); err != nil {
		return nil
	}
	return info
}

// Rseq is struct ptrace_rseq_configuration, uapi linux/ptrace.h.
type Rseq struct {
	Addr      uint64 // of the thread's struct rseq; 0 if none is registered
	Size      uint32
	Signature uint32
	Flags     uint32
	_         uint32
}

var _ [24]byte = [unsafe.Sizeof(Rseq{})]byte{}

func rseqConfiguration(tid int) (r Rseq, err error) {
	_, err = ptrace(ptraceGetRseqConfiguration, tid, unsafe.Sizeof(r), unsafe.Pointer(&r))
	return r, err
}

// userDispatch is struct ptrace_sud_config, uapi linux/ptrace.h.
type userDispatch struct {
	mode, selector, offset, len uint64
}

func getUserDispatch(tid int) (d userDispatch, err error) {
	_, err = ptrace(ptraceGetUserDispatch, tid, unsafe.Sizeof(d), unsafe.Pointer(&d))
	return d, err
}

// seccompFilter returns the program of a thread's filter, an array of struct sock_filter
// with 8 bytes each, and its flags. Number 0 is the one that was installed first.
func seccompFilter(tid int, number uint64) (program []byte, flags uint64, err error) {
	n, err := ptrace(ptraceSeccompGetFilter, tid, uintptr(number), nil)
	if err != nil {
		return nil, 0, err
	}
	program = make([]byte, max(n, 1)*8)
	if _, err := ptrace(ptraceSeccompGetFilter, tid, uintptr(number), unsafe.Pointer(&program[0])); err != nil {
		return nil, 0, err
	}
	meta := struct{ number, flags uint64 }{number: number} // struct seccomp_metadata, uapi linux/ptrace.h
	_, err = ptrace(ptraceSeccompGetMetadata, tid, unsafe.Sizeof(meta), unsafe.Pointer(&meta))
	return program, meta.flags, err
}

// vmRead reads memory of another process with process_vm_readv(2).
func vmRead(pid int, addr uint64, buf []byte) (int, error) {
	local := []unix.Iovec{{Base: &buf[0]}}
	local[0].SetLen(len(buf))
	return unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: uintptr(addr), Len: len(buf)}}, 0)
}

func vmWrite(pid int, addr uint64, buf []byte) (int, error) {
	local := []unix.Iovec{{Base: &buf[0]}}
	local[0].SetLen(len(buf))
	return unix.ProcessVMWritev(pid, local, []unix.RemoteIovec{{Base: uintptr(addr), Len: len(buf)}}, 0)
}

// ReadVec reads at most 1024 ranges of a process's memory, one after the other, into buf,
// with one process_vm_readv(2). It returns how many bytes were read.
func ReadVec(pid int, buf []byte, ranges []Range) (int, error) {
	local := []unix.Iovec{{Base: &buf[0]}}
	local[0].SetLen(len(buf))
	remote := make([]unix.RemoteIovec, len(ranges))
	for i, r := range ranges {
		remote[i] = unix.RemoteIovec{Base: uintptr(r.Addr), Len: int(r.Len)}
	}
	n, err := unix.ProcessVMReadv(pid, local, remote, 0)
	return n, os.NewSyscallError("process_vm_readv", err)
}
