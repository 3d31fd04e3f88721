package proc

import (
	"fmt"
	"strings"
)

// EventFD is what fdinfo says of an eventfd (fs/eventfd.c).
type EventFD struct {
	Count     uint64
	ID        uint64 // unique among all eventfds
	Semaphore bool
}

// EventFD returns the lines of an eventfd.
func (f *FDInfo) EventFD() (EventFD, error) {
	var e EventFD
	count, ok := f.Get("eventfd-count")
	if !ok || !setUint(&e.Count, strings.TrimSpace(count), 16) {
		return e, fmt.Errorf("fdinfo of an eventfd, count %q: %w", count, ErrFormat)
	}
	id, ok := f.Get("eventfd-id")
	if !ok || !setUint(&e.ID, id, 10) {
		return e, fmt.Errorf("fdinfo of an eventfd, id %q: %w", id, ErrFormat)
	}
	semaphore, _ := f.Get("eventfd-semaphore")
	e.Semaphore = strings.TrimSpace(semaphore) == "1"
	return e, nil
}

// EpollTarget is a tfd line of an epoll's fdinfo (fs/eventpoll.c).
type EpollTarget struct {
	FD     int    // the number it was added under
	Slot   uint32 // which of the targets added under that number, from 0
	Events uint32 // EPOLL bits
	Data   uint64
	Ino    uint64 // of the target's inode
	Dev    uint64 // its device, as the kernel numbers it; 0 before kernel 5.2
}

// EpollTargets returns the targets of an epoll, in the kernel's order.
func (f *FDInfo) EpollTargets() ([]EpollTarget, error) {
	var list []EpollTarget
	seen := map[int]uint32{}
	for _, e := range f.Extra {
		if e.Key != "tfd" {
			continue
		}
		t, ok := parseTarget(e.Value)
		if !ok {
			return nil, malformed("fdinfo line of an epoll", []byte(e.Value))
		}
		t.Slot = seen[t.FD]
		seen[t.FD]++
		list = append(list, t)
	}
	return list, nil
}

// parseTarget parses "5 events: 19 data: 4  pos:0 ino:51f7 sdev:f", all but the
// first in hexadecimal.
func parseTarget(line string) (t EpollTarget, ok bool) {
	fields := strings.Fields(strings.ReplaceAll(line, ":", ": "))
	if len(fields) < 5 || !setInt(&t.FD, fields[0]) || t.FD < 0 {
		return t, false
	}
	found := 0
	for i := 1; i+1 < len(fields); i += 2 {
		ok := true
		switch fields[i] {
		case "events:":
			ok = setUint(&t.Events, fields[i+1], 16)
		case "data:":
			ok = setUint(&t.Data, fields[i+1], 16)
		case "ino:":
			ok = setUint(&t.Ino, fields[i+1], 16)
		case "sdev:":
			if !setUint(&t.Dev, fields[i+1], 16) {
				return t, false
			}
			continue
		default:
			continue
		}
		if !ok {
			return t, false
		}
		found++
	}
	return t, found == 3
}
