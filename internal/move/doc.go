// Package move is how a running program is handed over to another side, so that it never
// runs on both and is never lost: the words that both sides say to each other, and what
// each writes down.
//
// ckpt-commit --move, here, gives the stream to a command that leads to ckpt-apply
// --prepared, there, and says lines behind it; the answers come back over the command's
// standard output:
//
//	here   open CHECKPOINT           that was all of it
//	there  prepared ID CHECKPOINT    all is built and nothing runs
//	here   go ID
//	there  running ID                it runs
//	there  not ID                    it does not and never will
//	here   ask ID                    in place of a stream, later: what became of it?
//	there  unknown ID                nobody knows here
//
// ID is drawn by the other side, from 128 random bits. A line begins with "ckpt-move "
// and is short; other lines are what login shells say, and are passed over, as far as they are few.
//
// # What is written down
//
// Each side has a record, a file in a folder of its user that nobody else may enter. Its
// state changes in one write of a few bytes, under the folder's lock, and each record is
// locked by the process it belongs to, for as long as that lives.
//
// Here, ckpt-collect makes it:
//
//	held     the tree is still traced only
//	stopped  all of it has got SIGSTOP, by one system call, and all its threads are parked
//	sent     go may have been said
//	moved    it runs there, and is to be killed here
//	stays    it does not, and goes on here
//
// Only ckpt-commit writes sent, in place of stopped, and says go after that. Who wants the
// target to go on, ckpt-collect, its warden or --resolve, writes stays in place of held or stopped, and
// unparks and continues it after that. So go is never said for a target that goes on. From sent, the
// only ways on are the other side's answers.
//
// A thread is parked by pointing it, with all signals blocked, to an instruction that jumps to
// itself, in bytes of its process that nothing uses. What it had before stands in the record, from before the
// first one is parked. So whoever is killed, and whoever continues the tree, nothing of the program
// runs, and it makes no child, until somebody gives the threads back what they had, see Keeper. That may be
// done twice, or go on where another one was killed.
//
// There, ckpt-apply makes it:
//
//	prepared   waiting for go
//	going      go was heard
//	releasing  the first task is about to run even if ckpt-apply dies
//	ran        all tasks will
//	not        it was taken back, or may not go any more
//
// An ask writes not in place of prepared, so a go that is still on its way comes too late. Up to
// going, the end of ckpt-apply is the end of the tree (PTRACE_O_EXITKILL), so with its
// lock gone that means not, too. In releasing it lasts some microseconds; who is killed there has left
// either the first process, which then runs, or nothing. Is that gone by the time somebody
// asks, then nobody can say whether it ever ran, and the answer is unknown.
package move
