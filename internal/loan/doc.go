// Package loan makes system calls in programs that were not started by us.
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
// # Queries
//
// Calls that change nothing are made all at once, with one stop, see Loan.Ask. A few
// instructions beside the ways home make those of an array in the loan's memory; as
// the last of them the thread sends itself SIGURG or SIGWINCH, one that its process
// does not catch, and so ignores, and that does not wait for it. It alone is not
// blocked meanwhile. A traced thread stops even for a signal that it ignores.
//
// We may die at any moment of that:
//   - before the thread runs, it stands before its way home;
//   - while it runs, it makes the calls that are left, which nobody asks for any more,
//     the signal is dropped, and it goes on with the address behind the last entry,
//     which is that of its way home;
//   - while it is stopped, the signal is delivered, ignored, and it goes on likewise.
//
// It must find its entries, so they are written while it stands before its way home,
// and that is where it stands before another thread can unmap them: when a loan is
// passed on, see Pass, there are for a moment two threads that would unmap the memory
// on their way home, and neither uses it.
//
// Signals of others: SIGSTOP is passed on, and stops the thread when we let go. The
// signal that we use is ignored as it would have been; if the thread blocks it, its
// program may wait for it, and it is sent again. If we die just then, it is lost.
//
// Calls are made one by one where there is no room for the code, where the process
// catches both signals, where its limits leave no memory, and in a thread that seccomp
// confines, for what we suspend of that holds again when we die.
package loan
