package tracee

import (
	"strings"

	"golang.org/x/sys/unix"
)

// vdsoJump is code that jumps to an address and changes no register.
func vdsoJump(to uint64) []byte {
	var a asm
	a.jmp(to)
	return a
}

// vdsoCalls are the system calls that the functions of a vdso stand for.
var vdsoCalls = map[string]uintptr{
	"clock_gettime": unix.SYS_CLOCK_GETTIME, "gettimeofday": unix.SYS_GETTIMEOFDAY, "time": unix.SYS_TIME,
	"clock_getres": unix.SYS_CLOCK_GETRES, "getcpu": unix.SYS_GETCPU, "getrandom": unix.SYS_GETRANDOM,
}

// vdsoCall is the code of a function that makes its system call, or fails with ENOSYS.
func vdsoCall(name string) []byte {
	name = strings.TrimPrefix(name, "__vdso_")
	const ret = 0xc3
	fail := asm{0x48, 0xc7, 0xc0, 0xda, 0xff, 0xff, 0xff, ret} // mov $-ENOSYS, %rax; ret
	nr, ok := vdsoCalls[name]
	if !ok {
		return fail
	}
	var a asm
	a.mov(rax, uint64(nr))
	a = append(append(a, SyscallInsn...), ret)
	if name == "getrandom" {
		// Asked for the size of its state, it says that there is none: its last argument,
		// the length of that, is -1 then, see vgetrandom(7).
		question := asm{0x49, 0x83, 0xf8, 0xff, 0x75, byte(len(fail))} // cmp $-1, %r8; jne behind what fails
		a = append(append(question, fail...), a...)
	}
	return a
}

// inSignalFrame reports whether these words can follow the instruction pointer in a signal
// frame: the flags and the segment registers, see struct sigcontext.
func inSignalFrame(flags, segments uint64) bool {
	const alwaysSet = 1 << 1
	return flags>>32 == 0 && flags&alwaysSet != 0 && segments&0xffff == userCS64
}
