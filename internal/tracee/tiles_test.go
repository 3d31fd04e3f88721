//go:build amd64

package tracee

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// TestTiles: a puppet that was let use the tiles of AMX takes what a thread had in
// them; one that was not does not. Where there are none it can't ask for them.
func TestTiles(t *testing.T) {
	p := settledStub(t)
	allows := func() bool { a := must(Ask(p, TilesQuery))(t); return a.AllowsTiles() }
	if allows() || HasTiles(must(p.t.XState())(t)) {
		t.Error("it has tiles from the beginning")
	}
	v := p.Vector()
	p.AllowTiles(v)
	if err := v.Run(); TilesHere() != nil {
		if err == nil {
			t.Error("it can use what is not there")
		}
		return
	} else if err != nil {
		t.Fatal(err)
	}
	if !allows() {
		t.Error("it may not use the tiles")
	}
	const config, data = 17, 18 // xsave components
	xstate := must(p.t.XState())(t)
	binary.LittleEndian.PutUint64(xstate[xstateHeader:], 1<<config|1<<data)
	area := xstate[len(xstate)-8192:] // the last component
	for i := range area {
		area[i] = byte(i*7 + 1)
	}
	if err := p.t.SetXState(xstate); err == nil {
		t.Error("there is room before they were used")
	}
	check(t, p.MakeTiles())
	check(t, p.t.SetXState(xstate))
	got := must(p.t.XState())(t)
	if !HasTiles(got) || !bytes.Equal(got[len(got)-8192:], area) {
		t.Error("what is in the tiles is another")
	}
}
