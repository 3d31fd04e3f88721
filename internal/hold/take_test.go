package hold

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
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

func TestOneLine(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                   "plain",
		"two\nlines\t\tand more ": "two lines and more",
		"\x1b[2Jé\"\xff":          `\x1b[2Jé"\xff`,
		strings.Repeat("é", 400):  strings.Repeat("é", 256),
		strings.Repeat("xé", 400): strings.Repeat("xé", 170) + "x",
	} {
		got := oneLine(in)
		if got != want {
			t.Errorf("%q becomes %q", in, got)
		}
		if len(got) > maxWhyBytes || !utf8.ValidString(got) {
			t.Errorf("%q becomes %q, which is no line", in, got)
		}
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
