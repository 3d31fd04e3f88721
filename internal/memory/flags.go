package memory

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/stream/record"
)

// vmaFlag is one of the VmFlags of /proc/PID/smaps that matter to a restore, see
// Documentation/filesystems/proc.rst.
type vmaFlag struct {
	code   string
	mmap   uint64 // the flag of mmap(2) that sets it; 0 if none does
	advice int    // the advice of madvise(2) that sets it; MADV_NORMAL if none does
	// lasting: a mapping with the flag can't serve as one without, or the other
	// way round.
	lasting bool
	// obstacle says, for a message, why a mapping with the flag can't be saved.
	obstacle string
}

var vmaFlags = [...]vmaFlag{
	{code: flagGrows, mmap: unix.MAP_GROWSDOWN, lasting: true},
	{code: "nr", mmap: unix.MAP_NORESERVE, lasting: true},
	{code: flagDroppable, mmap: mapDroppable, lasting: true},
	{code: flagAccounted, lasting: true},
	{code: flagHuge, lasting: true},
	{code: "sr", advice: unix.MADV_SEQUENTIAL, lasting: true},
	{code: "rr", advice: unix.MADV_RANDOM, lasting: true},
	{code: flagDontFork, advice: unix.MADV_DONTFORK, lasting: true},
	{code: "dd", advice: unix.MADV_DONTDUMP, lasting: true},
	{code: "mg", advice: unix.MADV_MERGEABLE, lasting: true},
	{code: "hg", advice: unix.MADV_HUGEPAGE, lasting: true},
	{code: "nh", advice: unix.MADV_NOHUGEPAGE, lasting: true},
	{code: flagWiped, advice: unix.MADV_WIPEONFORK, lasting: true},
	{code: flagLocked},
	{code: flagLockedOnFault},
	{code: flagSealed},
	{code: "um", obstacle: "watched by userfaultfd"},
	{code: "uw", obstacle: "watched by userfaultfd"},
	{code: "ui", obstacle: "watched by userfaultfd"},
	{code: "ss", obstacle: "a shadow stack"},
	{code: "io", obstacle: "memory of a device"},
	{code: "pf", obstacle: "memory of a device"},
}

// The flags that code asks for by name.
const (
	flagGrows         = "gd"
	flagDroppable     = "dp"
	flagAccounted     = "ac" // it is or was writable
	flagHuge          = "ht" // it has pages of hugetlbfs
	flagMayWrite      = "mw"
	flagDontFork      = "dc"
	flagWiped         = "wf" // on fork
	flagLocked        = "lo"
	flagLockedOnFault = "lf"
	flagSealed        = "sl"
)

// has reports whether a mapping has a flag. VmFlags are two letters each, separated
// by blanks.
func has(v *record.VMA, flag string) bool {
	for all, more := v.VmFlags, true; more; {
		var word string
		if word, all, more = strings.Cut(all, " "); word == flag {
			return true
		}
	}
	return false
}

// blockedBy returns the obstacle among a mapping's flags, or "".
func blockedBy(m *proc.Mapping) string {
	for _, f := range vmaFlags {
		if f.obstacle != "" && m.VmFlags.Has(f.code) {
			return f.obstacle
		}
	}
	return ""
}

// serves reports whether a mapping with the flags of p can get those of v.
func serves(p, v *record.VMA) bool {
	for _, f := range vmaFlags {
		if f.lasting && has(p, f.code) != has(v, f.code) {
			return false
		}
	}
	return true
}

// mmapFlags returns the flags of mmap(2) for the VmFlags of a mapping.
func mmapFlags(v *record.VMA) (bits uint64) {
	for _, f := range vmaFlags {
		if f.mmap != 0 && has(v, f.code) {
			bits |= f.mmap
		}
	}
	return bits
}

// unknownHere returns an error for each property of mappings that this kernel does
// not support.
func unknownHere(vmas []record.VMA, who string) (errs []error) {
	lacks := func(what string) {
		errs = append(errs, fmt.Errorf("%s has %s, which this kernel does not know", who, what))
	}
	guards, pkeys, flags := false, false, map[string]bool{}
	for i := range vmas {
		if v := &vmas[i]; !ofKernel(v.Kind) {
			guards, pkeys = guards || len(v.Guards) > 0, pkeys || v.Pkey != 0 && !v.ExecOnly
			for all, more := v.VmFlags, !flags[v.VmFlags]; more; { // many have the same
				var word string
				word, all, more = strings.Cut(all, " ")
				flags[word] = true
			}
			flags[v.VmFlags] = true
		}
	}
	for _, f := range vmaFlags {
		if f.advice != unix.MADV_NORMAL && flags[f.code] && !sys.KnowsAdvice(f.advice) {
			lacks(fmt.Sprintf("memory with the flag %s (advice %d of madvise)", f.code, f.advice))
		}
	}
	if guards && !sys.KnowsAdvice(madvGuardInstall) {
		lacks("guard pages")
	}
	if pkeys && !sys.HasPkeys() {
		lacks("memory under protection keys")
	}
	if flags[flagSealed] && errors.Is(sys.Mseal(0, 0), unix.ENOSYS) {
		lacks("sealed memory (mseal)")
	}
	if flags[flagDroppable] && !sys.KnowsMapping(mapDroppable) {
		lacks("memory that may be dropped (MAP_DROPPABLE)")
	}
	return errs
}

// ofKernel reports whether mappings of a kind are made by the kernel itself.
func ofKernel(kind string) bool {
	return kind == record.VMAVDSO || kind == record.VMAVVar || kind == record.VMAVsyscall
}
