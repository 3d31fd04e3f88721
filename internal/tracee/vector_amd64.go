package tracee

// VectorCode is the code in a puppet's page. It makes one system call, or one for each entry
// of an array, see Vector, and then stops itself, see runToEnd.
var VectorCode = []byte{
	// One call, with its number and arguments in their registers.
	0x0f, 0x05, //                         syscall
	0x49, 0x89, 0xc7, //                   mov %rax, %r15
	// stop: tgkill(self, self, SIGSTOP)
	0x44, 0x89, 0xef, //                   mov %r13d, %edi
	0x44, 0x89, 0xf6, //                   mov %r14d, %esi
	0xba, 0x13, 0x00, 0x00, 0x00, //       mov $19, %edx
	0xb8, 0xea, 0x00, 0x00, 0x00, //       mov $234, %eax
	0x0f, 0x05, //                         syscall
	// VectorEnd: it stops here, except after a SIGCONT that removed the SIGSTOP
	0xeb, 0xec, //                         jmp stop
	// next, vectorStart: the entries from %rbx to %rbp
	0x48, 0x39, 0xeb, //                   cmp %rbp, %rbx
	0x74, 0xe7, //                         je stop
	0x48, 0x8b, 0x03, //                   mov (%rbx), %rax
	0x48, 0x8b, 0x7b, 0x08, //             mov 8(%rbx), %rdi
	0x48, 0x8b, 0x73, 0x10, //             mov 16(%rbx), %rsi
	0x48, 0x8b, 0x53, 0x18, //             mov 24(%rbx), %rdx
	0x4c, 0x8b, 0x53, 0x20, //             mov 32(%rbx), %r10
	0x4c, 0x8b, 0x43, 0x28, //             mov 40(%rbx), %r8
	0x4c, 0x8b, 0x4b, 0x30, //             mov 48(%rbx), %r9
	0x4c, 0x8b, 0x63, flagsAt, //          mov 56(%rbx), %r12
	0x41, 0xf6, 0xc4, 1, 0x74, 0x03, //    test $1, %r12b; je over the next
	0x48, 0x8b, 0x3f, //                   mov (%rdi), %rdi
	0x41, 0xf6, 0xc4, 2, 0x74, 0x03, //    and so on
	0x48, 0x8b, 0x36, //                   mov (%rsi), %rsi
	0x41, 0xf6, 0xc4, 4, 0x74, 0x03,
	0x48, 0x8b, 0x12, //                   mov (%rdx), %rdx
	0x41, 0xf6, 0xc4, 8, 0x74, 0x03,
	0x4d, 0x8b, 0x12, //                   mov (%r10), %r10
	0x41, 0xf6, 0xc4, 16, 0x74, 0x03,
	0x4d, 0x8b, 0x00, //                   mov (%r8), %r8
	0x41, 0xf6, 0xc4, 32, 0x74, 0x03,
	0x4d, 0x8b, 0x09, //                   mov (%r9), %r9
	0x0f, 0x05, //                         syscall
	0x48, 0x89, 0x03, //                   mov %rax, (%rbx)
	0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff, // cmp $-maxErrno, %rax
	0x73, 0x06, //                         jae failed
	// over:
	0x48, 0x83, 0xc3, EntryBytes, //       add $EntryBytes, %rbx
	0xeb, 0x93, //                         jmp next
	// failed:
	0x41, 0xf6, 0xc4, FlagMayFail, //      test $FlagMayFail, %r12b
	0x75, 0xf4, //                         jne over
	0xe9, 0x74, 0xff, 0xff, 0xff, //       jmp stop
}

const VectorEnd, vectorStart = 0x17, 0x19

// setSelf tells VectorCode which thread it runs in.
func (r *Regs) SetSelf(pid, tid int) { r.R13, r.R14 = uint64(pid), uint64(tid) }

// setVector sets the registers to make the calls of an array; code is a copy of VectorCode.
func (r *Regs) SetVector(code, first, end uint64) {
	r.SetCall(code+vectorStart, 0, nil)
	r.Rbx, r.Rbp = first, end
}

// lastResult is what a single call returned.
func (r *Regs) LastResult() int64 { return int64(r.R15) }

// nextEntry is the entry of the array at which the code stopped.
func (r *Regs) NextEntry() uint64 { return r.Rbx }

// AskCode is the code that a Loan has next to the ways home, see Loan.Ask. It makes the calls
// of an array from %rbx on. The entries are like those of VectorCode, except that the last
// word of each says whether there is another. Behind the last entry is the address at which
// to go on. Like the way home, it leaves the flags alone.
var AskCode = []byte{
	0x48, 0x8b, 0x03, //       next: mov (%rbx), %rax
	0x48, 0x8b, 0x7b, 0x08, //       mov 8(%rbx), %rdi
	0x48, 0x8b, 0x73, 0x10, //       mov 16(%rbx), %rsi
	0x48, 0x8b, 0x53, 0x18, //       mov 24(%rbx), %rdx
	0x4c, 0x8b, 0x53, 0x20, //       mov 32(%rbx), %r10
	0x4c, 0x8b, 0x43, 0x28, //       mov 40(%rbx), %r8
	0x4c, 0x8b, 0x4b, 0x30, //       mov 48(%rbx), %r9
	0x0f, 0x05, //                   syscall
	0x48, 0x89, 0x03, // asked:      mov %rax, (%rbx)
	0x48, 0x8b, 0x4b, flagsAt, //    mov 56(%rbx), %rcx
	0x48, 0x8d, 0x5b, EntryBytes, // lea EntryBytes(%rbx), %rbx
	0xe3, 0x02, //                   jrcxz over the next
	0xeb, 0xd4, //                   jmp next
	0xff, 0x23, //                   jmp *(%rbx)
}

// AskedAt is where in AskCode a call has been made.
const AskedAt = 0x1d

// setAsk sets the registers to make the calls of an array; code is a copy of AskCode.
func (r *Regs) SetAsk(code, first uint64) {
	r.SetCall(code, 0, nil)
	r.Rbx = first
}
