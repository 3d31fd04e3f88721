package apply

import (
	"bytes"
	"runtime"
	"testing"

	"ckpt/internal/puppet"
	"ckpt/internal/tracee"
)

// TestFitXState: an xsave area of another kernel is brought to this one's size; its
// content stays where it is, and the thread accepts it.
func TestFitXState(t *testing.T) {
	runtime.LockOSThread()
	p, err := puppet.StartStub(false)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Tracee().Kill()
	own, err := p.Tracee().XState()
	if err != nil {
		t.Fatal(err)
	}
	const all, legacy, xmm0 = ^uint64(0), 576, 160 // up to the end of the header; where xmm0 is
	area := bytes.Clone(own)
	area[512] |= 3 // x87 and SSE
	copy(area[xmm0:], "sixteen bytes...")
	for name, xstate := range map[string][]byte{
		"as here": area, "shorter": area[:legacy], "half": area[:len(area)/2&^63], "without zeros": tracee.TrimXState(area), "longer": append(bytes.Clone(area), make([]byte, 4096)...),
	} {
		if name == "shorter" {
			xstate = bytes.Clone(xstate)
			xstate[512] &= 3
		}
		fitted := tracee.FitXState(xstate, len(own), all)
		n := min(len(xstate), len(own))
		if len(fitted) != len(own) || !bytes.Equal(fitted[:n], xstate[:n]) || !bytes.Equal(fitted[n:], make([]byte, len(own)-n)) {
			t.Errorf("%s: %d bytes of %d", name, len(fitted), len(xstate))
		}
		if err := p.Tracee().SetXState(fitted); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if now, err := p.Tracee().XState(); err != nil || string(now[xmm0:xmm0+16]) != "sixteen bytes..." {
			t.Errorf("%s: xmm0 is %q, %v", name, now[xmm0:xmm0+16], err)
		}
	}
	if fitted := tracee.FitXState(nil, len(own), all); fitted != nil {
		t.Errorf("of none: %d bytes", len(fitted))
	}
}
