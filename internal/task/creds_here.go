package task

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/sys"
	"ckpt/stream/record"
)

// credsHere says which capabilities it takes to change from the credentials of this
// process to those of a task, by the rules of kernel/sys.c and security/commoncap.c.
func credsHere(h *Host, c *record.Creds) (errs []error) {
	if len(c.UID) != 4 || len(c.GID) != 4 {
		return nil // Check says so
	}
	now, who := credsOf(&h.Status), h.Who(c.PID)
	now.Securebits = h.Securebits
	need := func(yes bool, set caps.Set, to string) {
		if yes {
			errs = append(errs, h.Need(set, who, to)...)
		}
	}
	setPCap := caps.Of(unix.CAP_SETPCAP)
	need(!mayBecome(now.UID, c.UID) || c.Dumpable == dumpableByRoot, caps.Of(unix.CAP_SETUID), "set the user ids of %s")
	need(!mayBecome(now.GID, c.GID), caps.Of(unix.CAP_SETGID), "set the group ids of %s")
	need(!sys.SameGroups(now.Groups, c.Groups), caps.Of(unix.CAP_SETGID), "set the supplementary groups of %s")
	need(now.Bnd&^c.Bnd != 0, setPCap, "bound the capabilities of %s as they were")
	need(c.Inh&^(now.Inh|now.Prm) != 0, setPCap, "set the inheritable capabilities of %s")
	need(now.Securebits&^secbitKeepCaps != c.Securebits&^secbitKeepCaps, setPCap, "set the securebits of %s")
	ptrace := caps.Of(unix.CAP_SYS_PTRACE)
	switch {
	case !sameUser(&now, c):
		need(true, ptrace, "reach into %s once it is another user's")
	case c.Dumpable != 1:
		need(true, ptrace, "reach into %s, which is not dumpable")
	}
	need(!killable(&now, c), caps.Of(unix.CAP_KILL), "pass signals on to %s, of another user, and to end it should the restore fail")
	if all := c.Inh | c.Prm | c.Amb; h.UserNS && all != 0 {
		errs = append(errs, &caps.Missing{Set: caps.Set(all), To: "give them back to %s, which had them", Who: who})
		return errs
	}
	// Only capabilities that we have can be given; inheritable ones must be in the
	// bounding set.
	for _, lacks := range []uint64{c.Prm &^ now.Prm, c.Inh &^ c.Prm &^ (now.Inh | now.Bnd)} {
		if lacks != 0 {
			errs = append(errs, &caps.Missing{Set: caps.Set(lacks), To: "give them back to %s, which had them", Who: who})
		}
	}
	if locked := now.Securebits & secbitLocks; locked&^c.Securebits != 0 || locked>>1&(now.Securebits^c.Securebits) != 0 {
		errs = append(errs, fmt.Errorf("%s had securebits %#x, and those of ckpt-apply (%#x) are locked, see capabilities(7)", who, c.Securebits, now.Securebits))
	}
	return errs
}

// secbitLocks are the securebits that lock others.
const secbitLocks = 0xaa

// mayBecome reports whether a task may change its real, effective, saved and file
// system ids to the wanted ones without a capability.
func mayBecome(now, want []uint32) bool {
	for _, id := range want[:3] {
		if !slices.Contains(now[:3], id) {
			return false
		}
	}
	return slices.Contains(want[:3], want[3])
}

// sameUser reports whether this process may still trace a task that changed from
// now to want, see __ptrace_may_access in kernel/ptrace.c. Changing ids makes it
// not dumpable in between.
func sameUser(now, want *record.Creds) bool {
	return slices.Equal(now.UID, want.UID) && slices.Equal(now.GID, want.GID) &&
		want.UID[0] == want.UID[1] && want.UID[0] == want.UID[2] && want.GID[0] == want.GID[1] && want.GID[0] == want.GID[2]
}

// killable reports whether this process may signal a task that changed to want.
func killable(now, want *record.Creds) bool {
	for _, id := range now.UID[:2] {
		if id == want.UID[0] || id == want.UID[2] {
			return true
		}
	}
	return false
}
