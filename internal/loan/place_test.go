//go:build amd64

package loan

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/abi"
	"ckpt/internal/proc"
	"ckpt/internal/testkit"
	"ckpt/internal/testkit/stub"
	"ckpt/internal/tracee"
)

// TestHole: the hole that is found is free, and so is a MiB on both sides; and if there is
// one, it is found.
func TestHole(t *testing.T) {
	const (
		mib    = uint64(1 << 20)
		lowest = uint64(1 << 28)
		top    = uint64(1<<47 - abi.PageBytes)
		step   = mib / 2
	)
	rng := testkit.Random(t)
	found, full := 0, 0
	for range 20_000 {
		// The space is occupied except for a window, which is divided at random.
		from := lowest + step*rng.Uint64N(40)
		to := from + step*rng.Uint64N(24)
		if rng.UintN(4) == 0 {
			to = top - step*rng.Uint64N(10)
			from = to - step*rng.Uint64N(24)
		}
		taken := []tracee.Range{{Addr: abi.PageBytes, Len: from - abi.PageBytes}, {Addr: to, Len: top - to}, {Addr: 0xffffffffff600000, Len: abi.PageBytes}}
		for at := from; at < to; {
			at += step * rng.Uint64N(8)
			n := min(step*(1+rng.Uint64N(3)), max(at, to)-at)
			if n > 0 {
				taken = append(taken, tracee.Range{Addr: at, Len: n})
			}
			at += n
		}
		taken = slices.DeleteFunc(taken, func(r tracee.Range) bool { return r.Len == 0 })
		rng.Shuffle(len(taken), func(i, j int) { taken[i], taken[j] = taken[j], taken[i] })
		size := abi.PageBytes * (1 + rng.Uint64N(512))
		before := slices.Clone(taken)

		apart := func(at uint64) bool {
			return at >= lowest+mib && at+size+mib <= top && !slices.ContainsFunc(taken, func(r tracee.Range) bool { return at < r.Addr+r.Len+mib && r.Addr < at+size+mib })
		}
		want := false
		for at := from; at <= to; at += step {
			want = want || apart(at) || apart(max(lowest, at)+mib)
		}
		got, ok := tracee.Hole(taken, size)
		if ok != want || ok && (got.Len != size || !apart(got.Addr)) {
			t.Fatalf("%d bytes: %+v, %v, of %x", size, got, ok, taken)
		}
		if !slices.Equal(taken, before) {
			t.Fatal("the list was changed")
		}
		if ok {
			found++
		} else {
			full++
		}
	}
	if found < 1000 || full < 1000 {
		t.Errorf("found %d times, not found %d times", found, full)
	}
	if _, ok := tracee.Hole(nil, 1<<47); ok {
		t.Error("more than there is was found")
	}
	if got, ok := tracee.Hole(nil, scratchBytes); !ok || got.Addr != lowest+mib {
		t.Errorf("%+v", got)
	}
}

func TestLowestFree(t *testing.T) {
	for _, c := range []struct {
		fds  []int
		want [2]int
	}{
		{nil, [2]int{0, 1}}, {[]int{0, 1, 2}, [2]int{3, 4}}, {[]int{1, 3}, [2]int{0, 2}}, {[]int{0, 2}, [2]int{1, 3}}, {[]int{5}, [2]int{0, 1}},
	} {
		if got := lowestFree(c.fds); got != c.want {
			t.Errorf("%v: %v, not %v", c.fds, got, c.want)
		}
	}
	rng := testkit.Random(t)
	for range 1000 {
		var fds []int
		for fd := range 20 {
			if rng.UintN(3) > 0 {
				fds = append(fds, fd)
			}
		}
		got := lowestFree(fds)
		for fd := range got[1] + 1 {
			if free := fd == got[0] || fd == got[1]; slices.Contains(fds, fd) == free {
				t.Fatalf("%v: %v", fds, got)
			}
		}
	}
}

// TestZeroTail: how much of the end of an executable mapping is free.
func TestZeroTail(t *testing.T) {
	p := stub.Settled(t)
	at := stub.Map(t, p, 2*abi.PageBytes, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC)
	for _, c := range []struct {
		free, slots int
	}{{0, 0}, {1, 0}, {slotBytes, 0}, {slotBytes + 15, 0}, {slotBytes + 16, 1}, {2*slotBytes + 15, 1}, {2*slotBytes + 16, 2}, {abi.PageBytes, 2}} {
		text := bytes.Repeat([]byte{0x90}, 2*abi.PageBytes)
		clear(text[len(text)-c.free:])
		testkit.Check(t, p.Tracee().WriteMem(at, text))
		m := proc.Mapping{Start: at, End: at + 2*abi.PageBytes, Prot: unix.PROT_READ | unix.PROT_EXEC, Path: "/lib/x.so"}
		place, err := FindPlace(p.Tracee(), []proc.Mapping{m}, []int{0, 2}, 0)
		if c.slots == 0 {
			if !errors.Is(err, ErrNoPlace) {
				t.Errorf("%d bytes: %+v, %v", c.free, place, err)
			}
			continue
		}
		testkit.Check(t, err)
		if place.slots != c.slots || place.code != m.End-uint64(c.slots*slotBytes) || place.Roomy() != (c.slots == 2) || place.fds != [2]int{1, 3} {
			t.Errorf("%d bytes: %+v", c.free, place)
		}
	}
}

// TestFindPlace: the vdso comes first; shared mappings, vsyscall and mappings that can't be
// read are not used.
func TestFindPlace(t *testing.T) {
	p := stub.Settled(t)
	at := stub.Map(t, p, abi.PageBytes, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC)
	maps := testkit.Must(proc.ReadMaps(p.Tracee().PID))(t)
	vdso := *testkit.MappingAt(t, p.Tracee().PID, testkit.Must(p.Tracee().Regs())(t).SP()) // any
	for _, m := range maps {
		if m.Name() == "[vdso]" {
			vdso = m
		}
	}
	exec := proc.Mapping{Start: at, End: at + abi.PageBytes, Prot: unix.PROT_READ | unix.PROT_EXEC, Path: "/x"}
	shared, data, vsyscall, gone := exec, exec, exec, exec
	shared.Shared, data.Prot, vsyscall.Path = true, unix.PROT_READ, "[vsyscall]"
	gone.Start, gone.End = 1<<46, 1<<46+abi.PageBytes
	longer := vdso
	longer.End += abi.PageBytes // differs from this kernel's
	full := []proc.Mapping{{Start: abi.PageBytes, End: at, Prot: unix.PROT_READ}, exec, {Start: at + abi.PageBytes, End: 1<<47 - abi.PageBytes}}
	for name, c := range map[string]struct {
		maps []proc.Mapping
		in   *proc.Mapping
		says string
	}{
		"a program's":        {maps, &vdso, ""},
		"the vdso is behind": {[]proc.Mapping{exec, vdso}, &vdso, ""},
		"no vdso":            {[]proc.Mapping{data, exec}, &exec, ""},
		"shared":             {[]proc.Mapping{shared}, nil, "none of its executable mappings"},
		"data":               {[]proc.Mapping{data}, nil, "none of its executable mappings"},
		"vsyscall":           {[]proc.Mapping{vsyscall}, nil, "none of its executable mappings"},
		"not to be read":     {[]proc.Mapping{gone}, nil, "none of its executable mappings"},
		"another vdso":       {[]proc.Mapping{longer}, nil, "none of its executable mappings"},
		"a full space":       {full, nil, "its address space is full"},
	} {
		place, err := FindPlace(p.Tracee(), c.maps, nil, 0)
		if c.in == nil {
			testkit.Says(t, err, c.says)
			continue
		}
		testkit.Check(t, err)
		if place.code < c.in.Start || place.code+uint64(place.slots*slotBytes) != c.in.End {
			t.Errorf("%s: %x, not in %x-%x", name, place.code, c.in.Start, c.in.End)
		}
	}
}

// TestSpareStack: bytes of the stack that are zero and far enough from the stack pointer.
func TestSpareStack(t *testing.T) {
	p := stub.Settled(t)
	const pages = 16
	at := stub.Map(t, p, pages*abi.PageBytes, unix.PROT_READ|unix.PROT_WRITE)
	stack := tracee.Range{Addr: at, Len: pages * abi.PageBytes}
	used := bytes.Repeat([]byte{1}, pages*abi.PageBytes)
	for name, c := range map[string]struct {
		from, n int    // zero bytes
		sp      uint64 // relative to the beginning of the stack
		want    int    // -1: none
	}{
		"all":                 {0, pages * abi.PageBytes, stack.Len - 64, 0},
		"none":                {0, 0, stack.Len - 64, -1},
		"just enough":         {100, TightBytes + 7, stack.Len - 64, 104},
		"aligned":             {104, TightBytes + 7, stack.Len - 64, 104},
		"one byte less":       {100, TightBytes + 6, stack.Len - 64, -1},
		"too high":            {4 * abi.PageBytes, abi.PageBytes, stack.Len - 64, -1},
		"at the pointer":      {0, pages * abi.PageBytes, 4*abi.PageBytes + 8, -1},
		"below the red zone":  {0, pages * abi.PageBytes, 4*abi.PageBytes + TightBytes + 7, 0},
		"in the red zone":     {0, pages * abi.PageBytes, abi.PageBytes, -1},
		"a pointer elsewhere": {0, pages * abi.PageBytes, 1 << 40, 0},
	} {
		b := slices.Clone(used)
		clear(b[c.from : c.from+c.n])
		testkit.Check(t, p.Tracee().WriteMem(at, b))
		got, ok := spareStack(p.Tracee(), stack, at+c.sp)
		if ok != (c.want >= 0) || ok && got != (tracee.Range{Addr: at + uint64(c.want), Len: TightBytes}) {
			t.Errorf("%s: %+v, %v", name, got, ok)
		}
	}
	if _, ok := spareStack(p.Tracee(), tracee.Range{Addr: 1 << 46, Len: abi.PageBytes}, 0); ok {
		t.Error("there is no stack")
	}
	if _, ok := spareStack(p.Tracee(), tracee.Range{}, 0); ok {
		t.Error("there is no stack at all")
	}
}
