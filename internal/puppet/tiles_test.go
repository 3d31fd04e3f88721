//go:build amd64

package puppet

import (
	"bytes"
	"encoding/binary"
	"testing"

	"ckpt/internal/testkit"
	"ckpt/internal/tracee"
)

// TestTiles: a puppet that may use the tiles of AMX accepts the state that a thread had in
// them; one that may not does not. On a machine without tiles it can't ask for them.
func TestTiles(t *testing.T) {
	p := settledStub(t)
	allows := func() bool { a := testkit.Must(tracee.Ask(p, tracee.TilesQuery))(t); return a.AllowsTiles() }
	if allows() || tracee.HasTiles(testkit.Must(p.t.XState())(t)) {
		t.Error("it has tiles from the beginning")
	}
	v := p.Vector()
	p.AllowTiles(v)
	if err := v.Run(); tracee.TilesHere() != nil {
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
	xstate := testkit.Must(p.t.XState())(t)
	binary.LittleEndian.PutUint64(xstate[512:], 1<<config|1<<data)
	area := xstate[len(xstate)-8192:] // the last component
	for i := range area {
		area[i] = byte(i*7 + 1)
	}
	if err := p.t.SetXState(xstate); err == nil {
		t.Error("there is room before they were used")
	}
	testkit.Check(t, p.MakeTiles())
	testkit.Check(t, p.t.SetXState(xstate))
	got := testkit.Must(p.t.XState())(t)
	if !tracee.HasTiles(got) || !bytes.Equal(got[len(got)-8192:], area) {
		t.Error("what is in the tiles is another")
	}
}
