package tracee

import (
	"encoding/binary"
	"os"
	"testing"
)

// TestNarrow: a program's pointers are known by its auxiliary vector, this one's too.
func TestNarrow(t *testing.T) {
	words := func(narrow bool, list ...uint64) (b []byte) {
		for _, w := range list {
			if narrow {
				b = binary.LittleEndian.AppendUint32(b, uint32(w))
			} else {
				b = binary.LittleEndian.AppendUint64(b, w)
			}
		}
		return b
	}
	own, err := os.ReadFile("/proc/self/auxv")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		auxv []byte
		want bool
	}{
		"64-bit":             {words(false, 33, 0x7fff00000000, 3, 0x400040, 4, 56, 5, 13, 0, 0), false},
		"x32 and 32-bit":     {words(true, 32, 0xf7ff9579, 33, 0xf7ff9000, 3, 0x8048034, 4, 32, 5, 9, 0, 0), true},
		"64-bit, odd values": {words(false, 33, 32<<32|4, 3, 4, 4, 56, 0, 0), false},
		"half a pair":        {words(true, 4), false},
		"nothing":            {nil, false},
		"this program":       {own, false},
	} {
		if got := Narrow(c.auxv); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
