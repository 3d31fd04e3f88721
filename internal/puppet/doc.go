// Package puppet makes the tasks that are restored, and system calls in them.
//
// A task that is being restored belongs to us: PTRACE_O_EXITKILL is set, so that it dies if
// we do, at whatever call, and nothing has to be undone. It makes its system calls from
// pages of its own, with one stop for a whole Vector of them: a few instructions make the
// calls of an array one after the other, until one fails, and then send SIGSTOP to their
// own thread. Arguments may be marked to be the results of earlier calls. SIGSTOP can't be
// blocked, it resets no action, and we never let it be delivered.
//
// All other signals stay blocked, and so pending. A SIGSTOP that somebody else sends in
// the middle is told from ours by its sender and by the thread's position, and is passed
// on: the process counts as stopped, although it makes our calls, and will be stopped when
// it is let go. A SIGCONT in the middle removes our SIGSTOP before it is delivered; then
// that is sent again. In turn our SIGSTOP removes a pending SIGCONT, so a process that is
// to have one makes its calls one by one, see Singly.
package puppet
