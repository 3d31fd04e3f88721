package proc

import (
	"errors"
	"testing"
)

func TestEventFD(t *testing.T) {
	f, err := ParseFDInfo(fixture(t, "fdinfo-eventfd"))
	if err != nil {
		t.Fatal(err)
	}
	e, err := f.EventFD()
	equal(t, "error", err, nil)
	equal(t, "eventfd", e, EventFD{Count: 7, ID: 3, Semaphore: true})

	for _, c := range []struct {
		extra []Field
		want  EventFD
		err   error
	}{
		{[]Field{{"eventfd-count", "fffffffffffffffe"}, {"eventfd-id", "0"}, {"eventfd-semaphore", "0"}}, EventFD{Count: 1<<64 - 2}, nil},
		{[]Field{{"eventfd-count", "a"}}, EventFD{Count: 10}, ErrFormat},
		{nil, EventFD{}, ErrFormat},
		{[]Field{{"eventfd-count", "x"}}, EventFD{}, ErrFormat},
		{[]Field{{"eventfd-count", "1"}, {"eventfd-id", "-1"}}, EventFD{Count: 1}, ErrFormat},
	} {
		f := FDInfo{Extra: c.extra}
		e, err := f.EventFD()
		if e != c.want || !errors.Is(err, c.err) {
			t.Errorf("%v: %+v %v, want %+v %v", c.extra, e, err, c.want, c.err)
		}
	}
}

func TestEpollTargets(t *testing.T) {
	f, err := ParseFDInfo(fixture(t, "fdinfo-epoll"))
	if err != nil {
		t.Fatal(err)
	}
	f.Extra = append(f.Extra,
		Field{"tfd", "4 events: 40000000 data: ffffffffffffffff  pos:-1 ino:2 sdev:0"},
		Field{"tfd", "123456789 events:80000019 data:deadbeef pos:0 ino:3 sdev:0 later:9"})
	list, err := f.EpollTargets()
	equal(t, "error", err, nil)
	equal(t, "targets", list, []EpollTarget{
		{FD: 4, Events: 0x1f, Data: 4, Ino: 0x51f7, Dev: 0xf},
		{FD: 3, Events: 0x19, Data: 3, Ino: 0x51f7, Dev: 0xf},
		{FD: 4, Slot: 1, Events: 0x40000000, Data: 1<<64 - 1, Ino: 2},
		{FD: 123456789, Events: 0x80000019, Data: 0xdeadbeef, Ino: 3},
	})
	for _, bad := range []string{"", "x events: 1 data: 1 ino:1", "-1 events: 1 data: 1 ino:1", "1 events: 1 data: 1",
		"1 events: 1ffffffff data: 1 ino:1", "1 events: 1 data: z ino:1"} {
		f := FDInfo{Extra: []Field{{"tfd", bad}}}
		if _, err := f.EpollTargets(); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
