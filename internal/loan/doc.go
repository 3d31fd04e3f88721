// Package loan makes system calls in programs that were not started by us.
//
// A program that we did not start must survive our death at any moment, even in the
// middle of a system call that we make in its name. Therefore a Loan never leaves the
// thread in a state that only we could undo. Before it changes anything else it writes a
// few instructions, the way home, into bytes that no program uses: the zero padding at
// the end of the vdso, or of another executable mapping. Then it sets the instruction
// pointer to them. They unmap the scratch pages, close the descriptors that the loan
// opened, restore the signal mask and the registers that a system call changes, and jump
// to where the thread had been stopped; an interrupted system call is made again. As long
// as we live they never run, because the thread is stopped at every system call's exit.
// If the tracer dies, the kernel detaches and the thread walks home by itself.
//
// If the target's limits leave no room for scratch pages (RLIMIT_AS, a full map table,
// locked memory), a few zero bytes at the low end of its first thread's stack are used,
// and the way home clears them. A limit is never raised: if we died it would stay raised,
// at least for other threads.
//
// A thread that is let go that way may not run for a while. Whoever seizes it next first
// lets it come home, see ComeHome.
//
// All signals stay blocked, and so pending, during a loan. System call stops are used, not
// single steps or breakpoints: those are signals, and a forced SIGTRAP would reset the
// program's own action for it.
//
// # Queries
//
// Calls that change nothing are made all at once, with one stop, see Loan.Ask. A few
// instructions next to the ways home make the calls of an array in the loan's memory.
// With the last of them the thread sends itself SIGURG or SIGWINCH: one of the two that
// its process does not catch, and so ignores, and that is not pending. Only that signal
// is unblocked at the time. A traced thread stops even for a signal that it ignores.
//
// If we die at any moment of that:
//   - before the thread runs, it is before its way home;
//   - while it runs, it makes the remaining calls, whose results nobody needs any more,
//     the signal is dropped, and the thread continues at the address behind the last
//     entry, which is that of its way home;
//   - while it is stopped, the signal is delivered and ignored, and it continues likewise.
//
// The thread must find its entries. So they are written while it is before its way home,
// and it is there again before another thread can unmap them: when a loan is passed on,
// see Pass, there are for a moment two threads that would unmap the memory on their way
// home, and neither uses it.
//
// Signals sent by others: SIGSTOP is passed on, and stops the thread when we let go. The
// signal that we use is ignored, as it would have been anyway; but if the thread blocks
// it, its program may be waiting for it, and it is sent again. If we die just then, it is
// lost.
//
// Calls are made one by one if there is no room for the code, if the process catches both
// signals, if its limits leave no memory, and in a thread that seccomp confines, because
// its filters are in force again when we die.
package loan
