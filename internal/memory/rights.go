package memory

import (
	"fmt"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/cli"
	"ckpt/internal/proc"
	"ckpt/stream/record"
)

// Here returns an error for everything about the mappings of an address space that
// this kernel does not support or this process may not do. who names the program.
func Here(own *caps.Process, vmas []record.VMA, who string) []error {
	return slices.Concat(unknownHere(vmas, who), lockedHere(own, vmas, who), sharedHere(own, vmas, who), tooMany(vmas, who))
}

// ourMappings is how many mappings of its own a puppet has, see puppet.Puppet.Settle.
const ourMappings = 2

var mostMappings = sync.OnceValues(func() (int64, error) { return proc.ReadSysctl("vm/max_map_count") })

// tooMany: while it is restored, a process has a few mappings besides its own.
func tooMany(vmas []record.VMA, who string) []error {
	n := ourMappings
	for i := range vmas {
		if vmas[i].Kind != record.VMAVsyscall { // that does not count
			n++
		}
	}
	most, err := mostMappings()
	if err != nil || int64(n) <= most {
		return nil
	}
	return []error{cli.WithHint(fmt.Errorf("%s has %d mappings and needs %d while it is restored, and a process may have %d (vm.max_map_count)", who, n-ourMappings, n, most),
		fmt.Sprintf("sysctl vm.max_map_count=%d", n))}
}

// sharedHere: only the kernel's links lead to shared memory without a name, see
// proc.Mapping.Link. Who may choose process ids without a user namespace may follow those.
func sharedHere(own *caps.Process, vmas []record.VMA, who string) []error {
	nameless := func(v record.VMA) bool { return v.Kind == record.VMAShmem || v.Kind == record.VMASysVShm }
	if !own.UserNS || !slices.ContainsFunc(vmas, nameless) {
		return nil
	}
	return own.NeedHost(caps.Of(unix.CAP_CHECKPOINT_RESTORE), who, "make shared anonymous memory or System V segments of %s again")
}

// lockedHere: mappings are locked while this process's own limits are in force.
func lockedHere(own *caps.Process, vmas []record.VMA, who string) []error {
	var locked uint64
	for i := range vmas {
		if v := &vmas[i]; has(v, flagLocked) {
			locked += v.End - v.Start
		}
	}
	if locked == 0 {
		return nil
	}
	limits, err := proc.ReadLimits(os.Getpid())
	if err != nil {
		return []error{err}
	}
	if most := limits[unix.RLIMIT_MEMLOCK].Soft; locked > most {
		return own.Need(caps.Of(unix.CAP_IPC_LOCK), who, fmt.Sprintf("lock %d bytes of %%s in memory, more than RLIMIT_MEMLOCK (%d) allows", locked, most))
	}
	return nil
}
