// Package abi is the kernel's binary interface, where Go has no name for it: sizes
// and layouts of structures, by the names of their headers. A test compares them
// with the headers.
package abi

import "encoding/binary"

// PageBytes is the size of a page of memory.
const PageBytes = 4096

// Sizes of structures, in bytes.
const (
	SiginfoBytes     = 128 // siginfo_t, asm-generic/siginfo.h
	SigactionBytes   = 32  // struct sigaction of asm/signal.h: handler, flags, restorer, mask
	SigsetBytes      = 8   // sigset_t of asm/signal.h
	StackBytes       = 24  // stack_t of asm/signal.h
	RobustHeadBytes  = 24  // struct robust_list_head, linux/futex.h
	SembufBytes      = 6   // struct sembuf, linux/sem.h
	SeccompDataBytes = 64  // struct seccomp_data, linux/seccomp.h
	FilterBytes      = 8   // struct sock_filter, linux/filter.h
	IovecBytes       = 16  // struct iovec, linux/uio.h
	FlockBytes       = 32  // struct flock, linux/fcntl.h
	RseqBytes        = 32  // struct rseq as it began, and how it is aligned, linux/rseq.h
	RseqCSBytes      = 32  // struct rseq_cs, linux/rseq.h
	CloneArgsBytes   = 88  // struct clone_args, linux/sched.h
	ItimerspecBytes  = 32  // struct itimerspec, linux/time.h
	ItimervalBytes   = 32  // struct itimerval, linux/time.h
	SigeventBytes    = 64  // struct sigevent, asm-generic/siginfo.h
)

// Words returns the 64-bit words of b.
func Words(b []byte) []uint64 {
	w := make([]uint64, len(b)/8)
	for i := range w {
		w[i] = binary.NativeEndian.Uint64(b[8*i:])
	}
	return w
}

// Bytes is the inverse of Words.
func Bytes(words ...uint64) []byte {
	b := make([]byte, 0, 8*len(words))
	for _, w := range words {
		b = binary.NativeEndian.AppendUint64(b, w)
	}
	return b
}
