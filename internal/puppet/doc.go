// Package puppet makes the tasks that are restored, and system calls in them.
//
// A task that is being restored belongs to us: PTRACE_O_EXITKILL is set, so that
// if we die, at whatever call, it dies and nothing has to be undone. It makes its
// system calls from pages of its own, with one stop for a whole Vector of them: a
// few instructions make those of an array one after the other, arguments being
// results of earlier ones if so marked, until one fails, and then send SIGSTOP to
// the thread that runs them. Nothing blocks that signal, it changes no action, and
// it never gets past us.
//
// All other signals stay blocked, and so pending. A SIGSTOP of somebody else in
// the middle is told from ours by its sender and by where the thread stands, and
// passed on: the process is stopped, but for what we have it do, and will be when
// it is let go. A SIGCONT in the middle takes our SIGSTOP away before it is
// delivered; then it is sent again. In turn our SIGSTOP takes away a SIGCONT that
// waits: a process that is to have one makes its calls one by one, see Singly.
package puppet
