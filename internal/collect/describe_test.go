package collect

import (
	"os"
	"strings"
	"testing"

	"ckpt/stream"
)

// TestTooLarge: what is more than a record holds stands in the way, by name.
func TestTooLarge(t *testing.T) {
	info := make([]byte, 128)
	signals := stream.Signals{PID: os.Getpid(), TID: os.Getpid()}
	timers := stream.Timers{PID: os.Getpid()}
	for i := range 30000 {
		signals.Shared = append(signals.Shared, info)
		timers.Timers = append(timers.Timers, stream.Timer{ID: i, Value: 1 << 60})
	}
	d := newDescription(&tree{})
	for typ, meta := range map[stream.Type]any{
		stream.TypeSignals: &signals, stream.TypeTimers: &timers, stream.TypeFD: &stream.FD{PID: os.Getpid()},
	} {
		if err := d.emit(typ, meta); err != nil {
			t.Fatal(err)
		}
	}
	if len(d.records) != 1 || len(d.blockers.list) != 2 {
		t.Fatalf("%d records, blocked: %v", len(d.records), d.blockers.err())
	}
	all := d.blockers.err().Error()
	for _, what := range []string{"has more signals waiting than can be saved", "has more POSIX timers than can be saved"} {
		if !strings.Contains(all, what) {
			t.Errorf("%q is not said:\n%s", what, all)
		}
	}
}
