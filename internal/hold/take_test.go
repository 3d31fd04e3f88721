package hold

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTakeRefuses(t *testing.T) {
	h := newHold(t)
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for name, change := range map[string]func(*Ref){
		"another boot":     func(r *Ref) { r.BootID = "00000000-0000-0000-0000-000000000000" },
		"another process":  func(r *Ref) { r.StartTime++ },
		"no process":       func(r *Ref) { r.PID = 1 << 22 },
		"negative process": func(r *Ref) { r.PID = -1 },
		"no descriptor":    func(r *Ref) { r.FD = 1 << 20 },
		"not a pipe":       func(r *Ref) { r.FD = int(file.Fd()) },
		"another mark":     func(r *Ref) { r.Mark = r.FD },
		"no mark":          func(r *Ref) { r.Mark = int(file.Fd()) },
		"another image":    func(r *Ref) { r.Checkpoint += "x" },
	} {
		ref := h.Ref()
		change(&ref)
		if got := newPeer(t, ref).do("take dedup data"); got != "gone" {
			t.Errorf("%s: %s", name, got)
		}
	}
	for _, c := range []struct{ name, what string }{
		{"", Data}, {"Dedup", Data}, {"1st", Data}, {"a b", Data}, {"a\n", Data}, {"-a", Data}, {strings.Repeat("a", 65), Data}, {"dedup", "all"},
	} {
		if _, err := Take(h.Ref(), c.name, c.what); err == nil || errors.Is(err, ErrGone) {
			t.Errorf("%q holds %q: %v", c.name, c.what, err)
		}
	}
}

// A stream names the hold of a checkpoint, but another pipe of that process, or
// one of a process that has a mark of its own for somebody else's pipe: it is not
// even opened.
func TestTakeForged(t *testing.T) {
	h := newHold(t)
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(p[0])
	defer unix.Close(p[1])
	watch, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch)
	path := fmt.Sprintf("/proc/self/fd/%d", p[0])
	if _, err := unix.InotifyAddWatch(watch, path, unix.IN_OPEN); err != nil {
		t.Fatal(err)
	}
	opened := func() bool {
		var buf [256]byte
		n, err := unix.Read(watch, buf[:])
		return err == nil && n > 0
	}
	ref := h.Ref()
	ref.FD = p[0]
	if got := newPeer(t, ref).do("take dedup data"); got != "gone" || opened() {
		t.Errorf("%s, opened: %v", got, opened())
	}
	if err := unix.Fchown(p[0], 65534, -1); err != nil {
		t.Fatalf("run as root: %v", err)
	}
	mark, err := newMark(p[0], ref.Checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(mark)
	ref.Mark = mark
	if got := newPeer(t, ref).do("take dedup data"); got != "gone" || opened() {
		t.Errorf("another's pipe: %s", got)
	}
	if err := unix.Fchown(p[0], os.Geteuid(), -1); err != nil {
		t.Fatal(err)
	}
	if got := newPeer(t, ref).do("take dedup data"); got != "<nil>" || !opened() {
		t.Errorf("its own pipe: %s, and an opening is not seen", got)
	}
}

func TestTakeAfterTheEnd(t *testing.T) {
	h := newHold(t)
	p := newPeer(t, h.Ref())
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if got := p.do("take dedup data"); got != "gone" {
		t.Error(got)
	}
}

// The collector dies while it is held.
func TestCollectorGone(t *testing.T) {
	h := newHold(t)
	p := newPeer(t, h.Ref())
	p.must("take dedup data")
	h.Close()
	if got := p.do("ok"); got != "gone" {
		t.Error(got)
	}
}

func TestCopies(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if Copies(w) || !Copies(null) || !Copies(file) {
		t.Error("pipe", Copies(w), "null", Copies(null), "file", Copies(file))
	}
}

// No line makes the ledger panic or grow without bound.
func FuzzLedger(f *testing.F) {
	f.Add([]byte("dedup hold data\ndedup ok\n"))
	f.Add([]byte("write hold data\nwrite committed 12 shared\nwrite failed: x\n"))
	f.Add([]byte("a hold\n\n b\nc committed 99999999999999999999\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var l ledger
		for len(b) > 0 {
			n := min(len(b), 4096)
			l.add(b[:n])
			b = b[n:]
		}
		out := l.outcome()
		if len(l.pending) > maxLineBytes || len(l.names) > maxNames || len(out.Failures) > maxFailures*(maxNames+1)+1 {
			t.Errorf("%d bytes, %d names, %d failures", len(l.pending), len(l.names), len(out.Failures))
		}
		l.dataHeld()
	})
}
