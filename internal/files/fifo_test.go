package files

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/testkit"
)

// TestFifoUnsearched: when there is no time to look who else has a deleted FIFO, it is not
// taken for one that nobody has.
func TestFifoUnsearched(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	testkit.Check(t, unix.Mkfifo(path, 0o600))
	f := testkit.Must(os.OpenFile(path, os.O_RDWR, 0))(t)
	defer f.Close()
	s := subjectOf(t, int(f.Fd()))
	for _, c := range []struct {
		hurry bool
		want  string
	}{{false, ""}, {true, "perhaps one of"}} {
		e := newPipeEnds(&Collector{InTree: func(id int) bool { return id == os.Getpid() }})
		if c.hurry {
			e.patience = -1
		}
		e.look(s)
		if who, err := e.outsider(s); err != nil || (who == "") != (c.want == "") || !strings.HasPrefix(who, c.want) {
			t.Errorf("%q has it open (%v), want %q", who, err, c.want)
		}
	}
}
