package proc

import (
	"errors"
	"testing"
)

func TestPidFD(t *testing.T) {
	f, err := ParseFDInfo(fixture(t, "fdinfo-pidfd"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := f.PidFD()
	equal(t, "error", err, nil)
	equal(t, "pid", pid, 13844)

	for _, c := range []struct {
		extra []Field
		want  int
		err   error
	}{
		{[]Field{{"Pid", "-1"}, {"NSpid", "-1"}}, -1, nil},
		{[]Field{{"Pid", "0"}}, 0, nil},
		{[]Field{{"Pid", "-2"}}, 0, ErrFormat},
		{[]Field{{"Pid", "x"}}, 0, ErrFormat},
		{[]Field{{"NSpid", "7"}}, 0, ErrFormat},
	} {
		f := FDInfo{Extra: c.extra}
		if pid, err := f.PidFD(); pid != c.want || !errors.Is(err, c.err) {
			t.Errorf("%v: %d %v, want %d %v", c.extra, pid, err, c.want, c.err)
		}
	}
}
