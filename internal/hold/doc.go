// Package hold is how the filters behind ckpt-collect ask it to keep the target
// stopped, and how it learns what became of the image.
//
// The collector makes a pipe and names it in the HEADER record: its own process
// id and start time, and the number of the pipe's read end. Another descriptor,
// of a memfd whose name has the pipe's inode number and the checkpoint's id, marks
// it as a hold: a stream may come from anybody and name anything. A filter opens
// /proc/PID/fd/N for writing, which works on a pipe's inode whichever end the
// link is of, and writes lines:
//
//	<name> hold description     at once: until I am done, the target must not run
//	<name> hold data            at once: and I am not done before I consumed all data
//	<name> alive                now and then: I am at work
//	<name> stop <id>            once: the other side of a move is ready, see package move;
//	                            from now on the target's record there decides
//	<name> ok                   last: done
//	<name> committed <bytes> shared
//	                            last: done, and the image of a shared stream is
//	                            stored safely
//	<name> failed               last: I gave up
//
// and closes it. The first line may end with the holder's process id. A holder
// that is silent for too long while nothing else moves is no longer waited for. One
// that dies closes the pipe without a last line, which is a failure. While somebody
// holds data, the collector may pass pages on by reference; otherwise it copies
// them, since they would change when the target runs.
//
// A name is [a-z][a-z0-9-]*, and a line at most 1024 bytes, so that the kernel
// writes it at once or not at all (PIPE_BUF, pipe(7)). Holders may share a name:
// two ckpt-write behind a tee do. Their lines can't be told apart, only
// counted. Other words after a name are for later versions and mean nothing. Anything
// that is not such a line makes the hold fail: nobody knows what it meant.
package hold
