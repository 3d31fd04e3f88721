// Package mounts describes mount namespaces, and makes them again.
//
// # Saving
//
// A thread of ours enters the namespace, takes a copy of it for itself (unshare(2)), makes
// that private, and reads its table. Then it takes the copy apart: again and again it opens a
// mount that nothing covers and has nothing mounted on it, and unmounts it. So every mount is
// had by a descriptor, also those below others, and the program's own namespace is only read.
// All else is done by those descriptors, from our own namespace.
//
// What a file system is decides how it comes back (record.FSHost and so on): one that the
// collector has mounted, too, is the host's, and a mount of it is a bind of a folder of the
// host; what shows the kernel's state is mounted again; what is in memory only is walked, and
// travels file by file.
//
// # Restoring
//
// A thread makes the yard: a mount namespace whose root is a small tmpfs, with the host's
// mounts in the folder host and each file system that is made anew in fs/N. It gets what is
// mounted on the host (MS_SLAVE) and gives nothing. For each namespace of the image another
// thread takes a copy of the yard, clones what is to be mounted, puts it together below new,
// and makes that the root; the rest of the yard is unmounted. No mount is ever made in the
// namespace of the host, and when the last descriptor of a namespace is closed, because we
// ended or were killed, the kernel takes it down.
//
// The stream is not trusted. A mount point is walked from the root of the very mount that it
// is on, without links and without entering another mount; names in a new file system are
// made one by one in a folder that is open; options are of a list for each type. A folder of
// the host is the one the program had, by inode number, time of birth and file handle, or the
// user has named it.
package mounts
