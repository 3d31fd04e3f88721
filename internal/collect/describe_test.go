package collect

import (
	"os"
	"strings"
	"testing"

	"ckpt/stream/record"
)

// TestTooLarge: state that does not fit into a record is refused by name.
func TestTooLarge(t *testing.T) {
	info := make([]byte, 128)
	signals := record.Signals{PID: os.Getpid(), TID: os.Getpid()}
	timers := record.Timers{PID: os.Getpid()}
	for i := range 30000 {
		signals.Shared = append(signals.Shared, info)
		timers.Timers = append(timers.Timers, record.Timer{ID: i, Value: 1 << 60})
	}
	d := newDescription(&tree{})
	for typ, meta := range map[record.Type]any{
		record.TypeSignals: &signals, record.TypeTimers: &timers, record.TypeFD: &record.FD{TID: os.Getpid()},
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
