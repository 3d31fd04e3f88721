package proc

import (
	"errors"
	"testing"
)

func TestSignalMask(t *testing.T) {
	f, err := ParseFDInfo(fixture(t, "fdinfo-signalfd"))
	if err != nil {
		t.Fatal(err)
	}
	mask, err := f.SignalMask()
	equal(t, "error", err, nil)
	equal(t, "SIGUSR1 and SIGRTMAX", mask, uint64(1<<9|1<<63))

	for _, c := range []struct {
		extra []Field
		want  uint64
		err   error
	}{
		{[]Field{{"sigmask", "0000000000000000"}}, 0, nil},
		{[]Field{{"sigmask", "fffffffe7ffbfeff"}}, 0xfffffffe7ffbfeff, nil},
		{nil, 0, ErrFormat},
		{[]Field{{"sigmask", ""}}, 0, ErrFormat},
		{[]Field{{"sigmask", "1ffffffffffffffff"}}, 0, ErrFormat},
	} {
		f := FDInfo{Extra: c.extra}
		if mask, err := f.SignalMask(); mask != c.want || !errors.Is(err, c.err) {
			t.Errorf("%v: %#x %v, want %#x %v", c.extra, mask, err, c.want, c.err)
		}
	}
}
