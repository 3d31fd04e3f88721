package commit

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ckpt/internal/hold"
	"ckpt/internal/image"
	"ckpt/internal/testkit"
	"ckpt/stream"
	"ckpt/stream/record"
)

// given runs a shell script as the program, with its output in a file, and returns that.
func given(t *testing.T, ctx context.Context, in *os.File, script string) ([]byte, error) {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	testkit.Check(t, err)
	defer out.Close()
	p, err := Find([]string{"sh", "-c", script}, out)
	testkit.Check(t, err)
	quiet := func(string, ...any) {}
	err = Run(ctx, Options{Program: p, Step: quiet, Note: quiet}, in)
	b, rerr := os.ReadFile(out.Name())
	testkit.Check(t, rerr)
	return b, err
}

// TestStored: what the program reads is what came, to the byte, and it is committed
// when that ends well, and only then.
func TestStored(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		status int // 0: stored
		says   string
	}{
		"stored":             {"cat", 0, ""},
		"slowly":             {"for i in 1 2 3 4 5 6; do dd bs=100000 count=4 2>/dev/null; done; cat", 0, ""},
		"by a child":         {"(cat)", 0, ""},
		"failed at once":     {"exit 3", 3, "(sh) ended with exit status 3; the target runs on"},
		"failed at the end":  {"cat; exit 3", 3, "(sh) ended with exit status 3; the target runs on"},
		"killed":             {"head -c 1000; kill -KILL $$", 137, "(sh) was ended by SIGKILL; the target runs on"},
		"killed at the end":  {"cat; kill -TERM $$", 143, "(sh) was ended by SIGTERM; the target runs on"},
		"reads nothing":      {"exit 0", 125, "before it had read everything"},
		"reads a part":       {"head -c 100000", 125, "before it had read everything"},
		"reads no more":      {"head -c 100000; exec <&-; sleep 0.1", 125, "before it had read everything"},
		"all but the end":    {"dd bs=1000 count=1 2>/dev/null; exit 4", 4, "exit status 4"},
		"leaves it to other": {"exec 3<&0; (cat <&3 >/dev/null) & exit 0", 125, "before it had read everything"},
	} {
		for kind, pack := range map[string]func(testing.TB, []byte) []byte{"image": packed, "stream": func(_ testing.TB, b []byte) []byte { return b }} {
			for from, input := range map[string]func(testing.TB, []byte) *os.File{"pipe": piped, "file": filed} {
				t.Run(name+"/"+kind+"/"+from, func(t *testing.T) {
					h := newHold(t)
					want := pack(t, text(t, record.StageShared, h, whole))
					got, err := given(t, context.Background(), input(t, want), c.script)
					out := outcome(t, h)
					if c.status == 0 {
						if err != nil || !bytes.Equal(got, want) || !out.Committed || out.Bytes == 0 || len(out.Failures) > 0 {
							t.Errorf("%v, %d bytes, not %d, %+v", err, len(got), len(want), out)
						}
						return
					}
					var end *EndError
					if !errors.As(err, &end) || end.Status() != c.status || !strings.HasPrefix(err.Error(), "pid ") || !strings.Contains(err.Error(), c.says) {
						t.Errorf("%v", err)
					}
					if out.Committed || len(out.Failures) != 1 || out.Failures[0] != "ckpt-commit failed" {
						t.Errorf("%+v", out)
					}
				})
			}
		}
	}
}

// TestBadInput: of what is not whole, nothing is committed, whatever the program makes of
// it, and the program is told to end before its input does.
func TestBadInput(t *testing.T) {
	cut := func(b []byte) []byte { return b[:len(b)-1] }
	flip := func(b []byte) []byte { b[len(b)-400_000] ^= 1; return b }
	for name, c := range map[string]struct {
		make  func(h *hold.Hold) []byte
		is    error
		begun bool // the program was started, and the hold taken
	}{
		"raw": {func(h *hold.Hold) []byte { return text(t, record.StageRaw, h, whole) }, ErrRaw, false},
		"cut": {func(h *hold.Hold) []byte { return cut(text(t, record.StageShared, h, whole)) }, stream.ErrTruncated, true},
		"no END": {func(h *hold.Hold) []byte {
			return text(t, record.StageShared, h, func(w *stream.Writer) { _ = w.Flush() })
		}, stream.ErrTruncated, true},
		"given up": {func(h *hold.Hold) []byte {
			return text(t, record.StageShared, h, func(w *stream.Writer) { w.Abort("ckpt-x", errors.New("a reason")) })
		}, nil, true},
		"raw image":  {func(h *hold.Hold) []byte { return packed(t, text(t, record.StageRaw, h, whole)) }, ErrRaw, false},
		"cut image":  {func(h *hold.Hold) []byte { return cut(packed(t, text(t, record.StageShared, h, whole))) }, image.ErrTruncated, true},
		"bad image":  {func(h *hold.Hold) []byte { return flip(packed(t, text(t, record.StageShared, h, whole))) }, image.ErrCorrupt, true},
		"no stream":  {func(*hold.Hold) []byte { return []byte("age-encryption.org/v1\n") }, stream.ErrForeign, false},
		"nothing":    {func(*hold.Hold) []byte { return nil }, stream.ErrTruncated, false},
		"a word":     {func(*hold.Hold) []byte { return []byte("\\words") }, image.ErrForeign, false},
		"image of 0": {func(*hold.Hold) []byte { return packed(t, nil) }, stream.ErrTruncated, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHold(t)
			// The shell is told to end while cat is its child; the trap runs when cat has ended.
			got, err := given(t, context.Background(), piped(t, c.make(h)), "trap 'echo told; exit 0' TERM; cat >/dev/null; echo read; exit 0")
			var end *EndError
			if err == nil || c.is != nil && !errors.Is(err, c.is) || errors.As(err, &end) {
				t.Errorf("%v", err)
			}
			want := ""
			if c.begun {
				want = "told\n"
			}
			if string(got) != want {
				t.Errorf("the program says %q", got)
			}
			if out := outcome(t, h); out.Committed || out.Taken != c.begun || c.begun && len(out.Failures) != 1 {
				t.Errorf("%+v", out)
			}
		})
	}
}

// TestAborted: a program that reads the stream sees why it has no end.
func TestAborted(t *testing.T) {
	b := text(t, record.StageShared, nil, func(w *stream.Writer) { _ = w.Flush() })
	got, err := given(t, context.Background(), piped(t, b), "trap '' TERM; cat")
	if !errors.Is(err, stream.ErrTruncated) {
		t.Error(err)
	}
	r := stream.NewReader(bytes.NewReader(got))
	var last error
	for _, last = range r.Records(context.Background()) {
	}
	var abort *stream.AbortError
	if !errors.As(last, &abort) || abort.Tool != Tool {
		t.Errorf("%v", last)
	}
}

// TestNotHeld: what is not held, or on another host, is stored all the same.
func TestNotHeld(t *testing.T) {
	h := newHold(t)
	gone := text(t, record.StageShared, h, whole)
	testkit.Check(t, h.Close())
	for _, b := range [][]byte{gone, text(t, record.StageShared, nil, whole)} {
		if got, err := given(t, context.Background(), piped(t, b), "cat"); err != nil || !bytes.Equal(got, b) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		_, err := given(t, context.Background(), piped(t, b), "cat; exit 7")
		if err == nil || strings.Contains(err.Error(), "target") {
			t.Error(err)
		}
	}
}

// TestCancelled: a program that ends well after a signal has not stored anything.
func TestCancelled(t *testing.T) {
	for _, script := range []string{"exit 0", "cat", "trap 'exit 0' TERM; cat"} {
		h := newHold(t)
		ctx, cancel := context.WithCancelCause(context.Background())
		why := errors.New("a signal came")
		cancel(why)
		if _, err := given(t, ctx, piped(t, text(t, record.StageShared, h, whole)), script); !errors.Is(err, why) {
			t.Error(err)
		}
		if out := outcome(t, h); out.Committed {
			t.Errorf("%+v", out)
		}
	}
}

// TestAlive: as long as the program works, the collector is told so.
func TestAlive(t *testing.T) {
	h := newHold(t)
	r, w := lines(t)
	goOn := filepath.Join(t.TempDir(), "go")
	p, err := Find([]string{"sh", "-c", "cat >/dev/null; echo read; until [ -e " + goOn + " ]; do sleep 0.02; done"}, w)
	testkit.Check(t, err)
	quiet := func(string, ...any) {}
	done := make(chan error, 1)
	in := piped(t, text(t, record.StageShared, h, whole))
	go func() { done <- Run(context.Background(), Options{Program: p, Step: quiet, Note: quiet}, in) }()
	says(t, r, "read")
	last, _ := h.Signs()
	for range 3 {
		testkit.Soon(t, "a sign of life", func() bool {
			now, held := h.Signs()
			defer func() { last = now }()
			return held && now != last
		})
	}
	if got := h.Holders(); len(got) != 1 || !strings.HasPrefix(got[0], "ckpt-commit (pid ") {
		t.Errorf("%v", got)
	}
	testkit.Check(t, os.WriteFile(goOn, nil, 0o600))
	testkit.Check(t, <-done)
	if out := outcome(t, h); !out.Committed {
		t.Errorf("%+v", out)
	}
}
