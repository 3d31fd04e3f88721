// Package tracee holds other processes by ptrace(2) and makes system calls in
// them. It is the only package that knows the processor's registers.
//
// Every function of one Tracee must be called from one OS thread, the one that
// attached: lock it with runtime.LockOSThread. When that thread ends, for
// whatever reason, the kernel lets its tracees run on.
//
// # Loans
//
// A program that was not started by us must survive our death at any moment,
// also between two instructions of a system call we make in its name. A Loan
// therefore never leaves the thread in a state that only we could undo. Before
// anything else is changed it writes a few instructions, the way home, into
// bytes no program uses: the zero padding at the end of the vdso (or of another
// executable mapping). Then the instruction pointer is set to them. They unmap
// the scratch pages, close the descriptors the loan opened, restore the signal
// mask and the registers a system call changes, and jump to where the thread
// had been stopped; an interrupted system call is begun again. As long as we
// live they never run, for the thread is caught at every system call's exit. If
// the tracer dies, the kernel detaches and the thread walks home by itself.
//
// Where the target's limits leave no room for scratch pages (RLIMIT_AS, a full
// map table, locked memory), a few zero bytes at the low end of its first thread's
// stack do, and the way home clears them. A limit is never lifted: it would stay
// so if we died, for other threads at least.
//
// A thread that is let go that way may not get to run for a while. Whoever
// seizes it next lets it come home first, see ComeHome.
//
// All signals stay blocked, and so pending, while a loan lasts. System call
// stops are used, not single steps or breakpoints: those are signals, and a
// forced SIGTRAP would reset the program's own action for it.
//
// # Puppets
//
// A task that is being restored belongs to us: PTRACE_O_EXITKILL is set, and
// its system calls are made from a scratch page of its own.
package tracee
