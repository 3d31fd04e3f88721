package memory

import (
	"slices"
	"testing"

	"ckpt/internal/proc"
	"ckpt/internal/tracee"
)

func TestGapsBetween(t *testing.T) {
	const low, high = lowestAddress, taskSize &^ pageMask
	maps := []proc.Mapping{{Start: 0x20000, End: 0x30000}, {Start: 0x30000, End: 0x40000}, {Start: 0x90000, End: 0xa0000}, {Start: 1 << 63, End: 1<<63 + 4096}}
	for _, c := range []struct {
		maps       []proc.Mapping
		start, end uint64
		want       []tracee.Range
	}{
		{nil, 0x50000, 0x51000, []tracee.Range{{Addr: low, Len: 0x50000 - low}, {Addr: 0x51000, Len: high - 0x51000}}},
		{maps, 0x50000, 0x51000, []tracee.Range{{Addr: low, Len: 0x10000}, {Addr: 0x40000, Len: 0x10000}, {Addr: 0x51000, Len: 0x3f000}, {Addr: 0xa0000, Len: high - 0xa0000}}},
		{maps, 0x40000, 0x90000, []tracee.Range{{Addr: low, Len: 0x10000}, {Addr: 0xa0000, Len: high - 0xa0000}}},
		{maps[:1], low, 0x20000, []tracee.Range{{Addr: 0x30000, Len: high - 0x30000}}},
		{maps, high - 0x1000, high, []tracee.Range{{Addr: low, Len: 0x10000}, {Addr: 0x40000, Len: 0x50000}, {Addr: 0xa0000, Len: high - 0x1000 - 0xa0000}}},
	} {
		if got := gapsBetween(c.maps, c.start, c.end); !slices.Equal(got, c.want) {
			t.Errorf("%x-%x: %x, want %x", c.start, c.end, got, c.want)
		}
	}
}
