package files

import (
	"os"
	"testing"

	"ckpt/internal/proc"
	"ckpt/internal/testkit"
	"ckpt/stream/record"
)

// TestIsOwner: who gets signals and is not in the image is the same only with the same
// start time and on the same boot.
func TestIsOwner(t *testing.T) {
	stat := testkit.Must(proc.ReadStat(os.Getpid()))(t)
	r := fuzzed(t, true) // of pid 7
	r.HasGroup = func(sid, pgid int) bool { return sid == 0 && pgid == 8 }
	for _, c := range []struct {
		owner    record.Owner
		sameBoot bool
		want     bool
	}{
		{record.Owner{Type: 1, PID: 7}, false, true},
		{record.Owner{Type: 2, PID: 8}, false, true},
		{record.Owner{Type: 1, PID: 8}, true, false},
		{record.Owner{Type: 1, PID: os.Getpid()}, true, false},
		{record.Owner{Type: 1, PID: os.Getpid(), StartTime: stat.StartTime}, true, true},
		{record.Owner{Type: 1, PID: os.Getpid(), StartTime: stat.StartTime + 1}, true, false},
		{record.Owner{Type: 1, PID: os.Getpid(), StartTime: stat.StartTime}, false, false},
		{record.Owner{Type: 1, PID: 1 << 21, StartTime: 5}, true, false},
	} {
		if r.SameBoot = c.sameBoot; r.isOwner(&c.owner) != c.want {
			t.Errorf("%+v, same boot %v", c.owner, c.sameBoot)
		}
	}
}
