package tracee

import "golang.org/x/sys/unix"

// Pkeys is how many memory protection keys there are; key 0 is everybody's.
const Pkeys = 16

// nowhere is a page that no process can have: the last one that an address could name.
const nowhere = 1<<47 - 4096

// HasPkey asks whether the program has allocated a protection key, by giving that to memory
// that is not there, see do_mprotect_pkey in mm/mprotect.c.
func HasPkey(key int) Query {
	return Query{NR: unix.SYS_PKEY_MPROTECT, Args: [6]uint64{nowhere, 4096, unix.PROT_NONE, uint64(key)}}
}

// HasPkey decodes the answer. It is false for the key that the kernel has taken for memory
// that can only be executed.
func (a Answer) HasPkey() bool { return a.Err == unix.ENOMEM }
