//go:build amd64

package loan

import (
	"testing"

	"ckpt/internal/proc"
	"ckpt/internal/testkit"
	"ckpt/internal/tracee"
)

func TestMain(m *testing.M) { testkit.Main(m) }

// held seizes a target's first thread and finds a Place in it.
func held(t testing.TB, g *tracee.Group, pid int) (*tracee.Tracee, *Place) {
	t.Helper()
	tr := testkit.Must(g.Seize(pid, pid))(t)
	testkit.Check(t, tr.HideStop())
	maps := testkit.Must(proc.ReadMaps(pid))(t)
	fds := testkit.Must(proc.FDs(pid))(t)
	return tr, testkit.Must(FindPlace(tr, maps, fds, 0))(t)
}
