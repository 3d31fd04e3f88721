package files

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/sys"
	"ckpt/internal/testkit"
	"ckpt/stream"
	"ckpt/stream/record"
)

func mqueueRecord(t *testing.T, q *record.MQueue) *stream.Record {
	t.Helper()
	q.Objref = 1
	return testkit.Must(stream.New(record.TypeMQueue, q))(t)
}

func TestCheckMQueue(t *testing.T) {
	for _, c := range []struct {
		q    record.MQueue
		good bool
	}{
		{record.MQueue{Name: "a", MaxMessages: 1, MessageBytes: 1, Messages: 1}, true},
		{record.MQueue{Name: strings.Repeat("x", 255), MaxMessages: 1, MessageBytes: 1, Deleted: true}, true},
		{record.MQueue{Name: strings.Repeat("x", 256), MaxMessages: 1, MessageBytes: 1}, false},
		{record.MQueue{Name: "", MaxMessages: 1, MessageBytes: 1}, false},
		{record.MQueue{Name: "../x", MaxMessages: 1, MessageBytes: 1}, false},
		{record.MQueue{Name: "..", MaxMessages: 1, MessageBytes: 1}, false},
		{record.MQueue{Name: "a", MaxMessages: 0, MessageBytes: 1}, false},
		{record.MQueue{Name: "a", MaxMessages: 1, MessageBytes: -1}, false},
		{record.MQueue{Name: "a", MaxMessages: 1, MessageBytes: 1, Messages: 1, Deleted: true}, false},
	} {
		if errs := fuzzed(t, true).checkMQueue(map[string]bool{}, mqueueRecord(t, &c.q)); (len(errs) == 0) != c.good || !c.good && !errors.Is(errs[0], stream.ErrCorrupt) {
			t.Errorf("%+v: %v", c.q, errs)
		}
	}
}

// TestMQueue: a queue that is made anew is there with its limits and mode, and not after a
// restart that failed; one without a name has none; one of another size is refused.
func TestMQueue(t *testing.T) {
	name := fmt.Sprintf("ckpt-test-%d", os.Getpid())
	there := func() bool {
		f, err := sys.OpenMQueue(name, unix.O_RDONLY, 0, nil)
		if err == nil {
			f.Close()
		}
		return err == nil
	}
	q := record.MQueue{Name: name, Mode: unix.S_IFREG | 0o620, MaxMessages: 3, MessageBytes: 17}
	obj := testkit.Must(fuzzed(t, false).makeMQueue(mqueueRecord(t, &q)))(t)
	f := testkit.Must(obj.Open(unix.O_RDWR | unix.O_NONBLOCK))(t)
	defer f.Close()
	var st unix.Stat_t
	testkit.Check(t, unix.Fstat(int(f.Fd()), &st))
	if attr := testkit.Must(sys.GetMQAttr(int(f.Fd())))(t); attr.MaxMessages != 3 || attr.MessageBytes != 17 || attr.Messages != 0 || attr.Flags != unix.O_NONBLOCK || st.Mode != q.Mode {
		t.Errorf("%+v, mode %#o", attr, st.Mode)
	}
	testkit.Check(t, obj.Complete())
	if !there() {
		t.Error("it has no name")
	}
	larger := q
	larger.MaxMessages++
	if errs := fuzzed(t, false).checkMQueue(map[string]bool{}, mqueueRecord(t, &larger)); len(errs) != 1 || !strings.Contains(errs[0].Error(), "was for 4 messages of 17 bytes and is for 3 of 17") {
		t.Errorf("%v", errs)
	}
	testkit.Check(t, obj.Undo())
	if there() {
		t.Error("it is left behind")
	}
	q.Messages = 2
	if errs := fuzzed(t, false).checkMQueue(map[string]bool{}, mqueueRecord(t, &q)); len(errs) != 1 || !errors.Is(errs[0], unix.ENOENT) && !strings.Contains(errs[0].Error(), "in which 2 messages waited, is not there") {
		t.Errorf("%v", errs)
	}

	q.Messages, q.Deleted = 0, true
	r := fuzzed(t, false)
	obj = testkit.Must(r.makeMQueue(mqueueRecord(t, &q)))(t)
	a, b := testkit.Must(obj.Open(unix.O_WRONLY))(t), testkit.Must(obj.Open(unix.O_RDONLY))(t)
	defer a.Close()
	defer b.Close()
	testkit.Check(t, obj.Complete())
	testkit.Check(t, obj.Undo())
	for _, f := range []*os.File{a, b} {
		testkit.Check(t, unix.Fstat(int(f.Fd()), &st))
		if st.Nlink != 0 {
			t.Error("it has a name")
		}
	}
}
