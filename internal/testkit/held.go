//go:build amd64

package testkit

import (
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/tracee"
)

// NewGroup returns a group of this OS thread, which is let go at the end of the test.
func NewGroup(t testing.TB) *tracee.Group {
	runtime.LockOSThread()
	g := tracee.NewGroup(10*time.Second, func(pid, tid int) { t.Errorf("stuck at pid %d, thread %d", pid, tid) })
	t.Cleanup(func() { _ = g.ReleaseAll() })
	return g
}

// FreeSpace finds an address where nothing is mapped.
func FreeSpace(t testing.TB, pid int, size uint64) uint64 {
	t.Helper()
	var taken []tracee.Range
	for _, m := range Must(proc.ReadMaps(pid))(t) {
		taken = append(taken, tracee.Range{Addr: m.Start, Len: m.End - m.Start})
	}
	hole, ok := tracee.Hole(taken, size)
	if !ok {
		t.Fatal("no room")
	}
	return hole.Addr
}

// RandomRegs returns registers of which no two are equal, some of them small.
func RandomRegs(base *tracee.Regs, rng *rand.Rand) *tracee.Regs {
	r := *base
	for _, to := range []*uint64{&r.R15, &r.R14, &r.R13, &r.R12, &r.Rbp, &r.Rbx, &r.R11, &r.R10, &r.R9, &r.R8, &r.Rcx, &r.Rdx, &r.Rsi, &r.Rdi, &r.Rsp} {
		*to = rng.Uint64() >> (rng.UintN(3) * 16)
		if rng.UintN(8) == 0 {
			*to = []uint64{0, 1, 1<<32 - 1, 1 << 32, 1<<63 - 1, 1 << 63, 1<<64 - 1}[rng.UintN(7)]
		}
	}
	const carry, parity, adjust, zero, sign, direction, overflow = 1, 1 << 2, 1 << 4, 1 << 6, 1 << 7, 1 << 10, 1 << 11
	r.Eflags = 1<<1 | 1<<9 | rng.Uint64()&(carry|parity|adjust|zero|sign|direction|overflow)
	return &r
}

// FreePID finds an unused process id.
func FreePID(t testing.TB) int {
	t.Helper()
	for pid := 30_000; pid > 1000; pid-- {
		if unix.Kill(pid, 0) == unix.ESRCH {
			return pid
		}
	}
	t.Fatal("no process id is free")
	return 0
}
