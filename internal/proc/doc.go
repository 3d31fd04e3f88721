// Package proc reads /proc as typed values.
//
// Reading and parsing are separate: a Parse function takes the text, a Read
// function takes a process. Nothing here stops a process, so a file that is read
// while its process runs shows no single moment; callers stop it first.
//
// # Bytes
//
// Names and paths are bytes, held in Go strings and never assumed to be UTF-8.
// Paths in /proc/PID/maps and links in /proc/PID/fd are as seen from the
// reader's root, not the target's, and end in " (deleted)" when the kernel found
// the name gone; the name of an existing file may end so, too. The text is kept as
// it is.
//
// # Numbers
//
// Process ids are those of the pid namespace /proc was mounted in. Sizes are
// bytes here even where the kernel prints kB. A device is a number made by
// makedev(3) of the superblock's device, which on some file systems (btrfs,
// overlayfs) is not the st_dev of stat(2).
//
// # Errors
//
// A process may end at any moment: then opening a file fails with ENOENT and
// reading it with ESRCH; Gone recognizes both. A zombie, like a kernel
// thread, has no address space: its maps and cmdline are empty without an error,
// its auxv and pagemap are empty or, in newer kernels, fail with ESRCH.
//
// Sources: proc(5), and in the kernel fs/proc/{array,base,fd,task_mmu}.c.
package proc
