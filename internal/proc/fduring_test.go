package proc

import (
	"errors"
	"strings"
	"testing"
)

func TestUring(t *testing.T) {
	text := string(fixture(t, "fdinfo-uring"))
	want := Uring{SQEntries: 2048, CQEntries: 4096, SQHead: 15, SQTail: 15, Taken: 16, Done: 15, Files: 2, Polls: 1}
	for _, c := range []struct {
		old, new string
		change   func(u *Uring)
		err      error
	}{
		{"", "", func(*Uring) {}, nil},
		{"SqThread:\t-1", "SqThread:\t77", func(u *Uring) { u.Thread = true }, nil},
		{"  op=6, task_works=0\n", "", func(u *Uring) { u.Polls = 0 }, nil},
		{"CqOverflowList:\n", "CqOverflowList:\n  user_data=1, res=2, flags=0\n", func(u *Uring) { u.Overflow = true }, nil},
		{"UserBufs:\t0", "UserBufs:\t3", func(u *Uring) { u.Buffers = 3 }, nil},
		{"PollList:", "Personalities:\n    1\nPollList:", func(u *Uring) { u.Personalities = true }, nil},
		{"SqMask:\t0x7ff", "SqMask:\tx", func(u *Uring) { u.SQEntries = 1 }, ErrFormat},
		{"CachedCqTail", "Cached", func(u *Uring) { u.Done = 0 }, ErrFormat},
	} {
		f, err := ParseFDInfo([]byte(strings.Replace(text, c.old, c.new, 1)))
		if err != nil {
			t.Fatal(err)
		}
		want := want
		c.change(&want)
		if u, err := f.Uring(); u != want || !errors.Is(err, c.err) {
			t.Errorf("%q: %+v %v, want %+v %v", c.new, u, err, want, c.err)
		}
	}
}
