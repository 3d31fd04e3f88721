package sys

import "testing"

// TestTakesRseq: the areas that every kernel takes, and what none does; each is tried twice,
// because nothing stays registered.
func TestTakesRseq(t *testing.T) {
	for _, a := range []struct {
		addr  uint64
		size  uint32
		takes bool
	}{{0, 32, true}, {64, 32, true}, {4064, 32, true}, {16, 32, false}, {0, 16, false}, {0, 0, false}, {0, 5000, false}} {
		for range 2 {
			if takes, err := TakesRseq(a.addr, a.size); takes != a.takes || err != nil {
				t.Errorf("%d bytes at %#x: %v, %v", a.size, a.addr, takes, err)
			}
		}
	}
}
