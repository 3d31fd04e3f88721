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
	if err := d.encode(); err != nil {
		t.Fatal(err)
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

// TestEncoder: records come in the order in which they were added, whoever encoded them.
func TestEncoder(t *testing.T) {
	for _, n := range []int{0, 1, batchRecords, 10*batchRecords + 1} {
		var e encoder
		for fd := range n {
			e.add(record.TypeFD, &record.FD{FD: fd})
		}
		all, err := e.finish()
		if err != nil || len(all) != n {
			t.Fatalf("%d of %d records, %v", len(all), n, err)
		}
		for i, rec := range all {
			if fd, err := rec.Uint("fd"); err != nil || int(fd) != i {
				t.Errorf("record %d is that of fd %d, %v", i, fd, err)
			}
		}
	}
	var e encoder
	e.add(record.TypeFD, func() {})
	if _, err := e.finish(); err == nil {
		t.Error("a function was encoded")
	}
}
