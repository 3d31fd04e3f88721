package hold

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"ckpt/internal/testkit"
)

const (
	patience = 20 * time.Second       // for what will happen
	brief    = 150 * time.Millisecond // for what will not
)

// wait waits for an outcome that must come.
func wait(t *testing.T, h *Hold, o WaitOptions) Outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	out, err := h.Wait(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func expect(t *testing.T, got Outcome, want Outcome) {
	t.Helper()
	if got.Taken != want.Taken || got.Committed != want.Committed || got.Bytes != want.Bytes || !slices.Equal(got.Failures, want.Failures) {
		t.Errorf("outcome %+v, want %+v", got, want)
	}
}

// Each case is what holders do, one after the other; "2:" before a step means
// the second holder. At the end all of them are gone.
func TestOutcome(t *testing.T) {
	for name, c := range map[string]struct {
		steps []string
		want  Outcome
	}{
		"ok":              {[]string{"take dedup description", "ok"}, Outcome{Taken: true}},
		"committed":       {[]string{"take write data", "committed"}, Outcome{Taken: true, Committed: true, Bytes: 12345}},
		"died":            {[]string{"take dedup description", "kill"}, Outcome{Taken: true, Failures: []string{"ckpt-dedup died before it was done"}}},
		"closed":          {[]string{"take dedup data", "close"}, Outcome{Taken: true, Failures: []string{"ckpt-dedup died before it was done"}}},
		"failed":          {[]string{"take write data", "failed"}, Outcome{Taken: true, Failures: []string{"ckpt-write failed"}}},
		"two":             {[]string{"take dedup data", "2:take write data", "ok", "2:committed"}, Outcome{Taken: true, Committed: true, Bytes: 12345}},
		"two, one died":   {[]string{"take dedup data", "2:take write data", "kill", "2:committed"}, Outcome{Taken: true, Committed: true, Bytes: 12345, Failures: []string{"ckpt-dedup died before it was done"}}},
		"two of one name": {[]string{"take write data", "2:take write data", "committed", "2:kill"}, Outcome{Taken: true, Committed: true, Bytes: 12345, Failures: []string{"ckpt-write died before it was done"}}},
		"two fail":        {[]string{"take write data", "2:take write data", "failed a", "2:failed b"}, Outcome{Taken: true, Failures: []string{"ckpt-write failed", "ckpt-write failed"}}},
		"unknown word":    {[]string{"take pv data", `raw pv progress 5\n`, "ok"}, Outcome{Taken: true}},
		"unannounced":     {[]string{"take a data", `raw b ok\n`, "ok"}, Outcome{Taken: true}},
		"garbage":         {[]string{"take a data", "raw \x01\x02 ok\\n", "ok"}, Outcome{Taken: true, Failures: []string{errLine.Error()}}},
		"raw":             {[]string{"take a data", `raw a committed 5\n`, "close"}, Outcome{Taken: true}},
		"bad number":      {[]string{"take a data", `raw a committed -1\n`, "ok"}, Outcome{Taken: true, Failures: []string{errLine.Error()}}},
		"half a line":     {[]string{"take a data", `raw a committed 5`, "kill"}, Outcome{Taken: true, Failures: []string{"ckpt-a died before it was done"}}},
		"long line":       {[]string{"take a data", "raw a failed: " + strings.Repeat("x", 2000) + `\n`, "ok"}, Outcome{Taken: true, Failures: []string{errLine.Error()}}},
		"no line at all":  {[]string{"take a data", "raw " + strings.Repeat("x", 60000), `raw \n`, "ok"}, Outcome{Taken: true, Failures: []string{errLine.Error()}}},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHold(t)
			peers := []*peer{newPeer(t, h.Ref()), newPeer(t, h.Ref())}
			for _, step := range c.steps {
				p := peers[0]
				if s, ok := strings.CutPrefix(step, "2:"); ok {
					p, step = peers[1], s
				}
				if step == "kill" {
					p.kill()
				} else {
					p.must(step)
				}
			}
			expect(t, wait(t, h, WaitOptions{FirstTimeout: patience}), c.want)
		})
	}
}

func TestNobodyTakes(t *testing.T) {
	h := newHold(t)
	start := time.Now()
	out := wait(t, h, WaitOptions{FirstTimeout: brief})
	expect(t, out, Outcome{})
	if d := time.Since(start); d < brief {
		t.Errorf("gave up after %v, before its time", d)
	}
}

// While somebody holds, no timeout ends the wait.
func TestWaitIsHeld(t *testing.T) {
	h := newHold(t)
	p := newPeer(t, h.Ref())
	p.must("take dedup description")
	ctx, cancel := context.WithTimeout(t.Context(), 4*brief)
	defer cancel()
	if _, err := h.Wait(ctx, WaitOptions{FirstTimeout: brief, NeedCommit: true}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v", err)
	}
	p.must("ok")
	expect(t, wait(t, h, WaitOptions{FirstTimeout: patience}), Outcome{Taken: true})
}

func TestWaitGivesTheCause(t *testing.T) {
	cause := errors.New("a signal")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := newHold(t).Wait(ctx, WaitOptions{FirstTimeout: patience}); err != cause {
		t.Errorf("error %v", err)
	}
}

// ckpt-dedup may be done and gone before ckpt-write has come.
func TestLateSecondHolder(t *testing.T) {
	h := newHold(t)
	first, second := newPeer(t, h.Ref()), newPeer(t, h.Ref())
	first.must("take dedup description", "ok")
	res := make(chan Outcome)
	go func() {
		out, _ := h.Wait(context.Background(), WaitOptions{FirstTimeout: patience, NeedCommit: true})
		res <- out
	}()
	select {
	case out := <-res:
		t.Fatalf("did not wait for a second: %+v", out)
	case <-time.After(brief):
	}
	second.must("take write data")
	select {
	case out := <-res:
		t.Fatalf("did not wait for the second's end: %+v", out)
	case <-time.After(brief):
	}
	second.must("committed")
	expect(t, <-res, Outcome{Taken: true, Committed: true, Bytes: 12345})
}

// A failure is final: there will be no commit.
func TestNoSecondHolder(t *testing.T) {
	h := newHold(t)
	p := newPeer(t, h.Ref())
	p.must("take dedup description", "ok")
	expect(t, wait(t, h, WaitOptions{FirstTimeout: brief, NeedCommit: true}), Outcome{Taken: true})

	h = newHold(t)
	p = newPeer(t, h.Ref())
	p.must("take dedup description", "failed no")
	expect(t, wait(t, h, WaitOptions{FirstTimeout: time.Hour, NeedCommit: true}), Outcome{Taken: true, Failures: []string{"ckpt-dedup failed"}})
}

// Who stores what went into a pipe has a moment to come. If nobody does, nobody knows
// of it.
func TestPatience(t *testing.T) {
	const first = time.Hour
	for _, c := range []struct {
		need bool
		out  Outcome
		want time.Duration
	}{
		{false, Outcome{}, first},
		{true, Outcome{}, first},
		{false, Outcome{Taken: true}, 0},
		{true, Outcome{Taken: true}, first},
		{false, Outcome{Taken: true, Stored: true}, 0},
		{true, Outcome{Taken: true, Stored: true}, lateCommit},
		{true, Outcome{Taken: true, Stored: true, Committed: true}, 0},
		{true, Outcome{Taken: true, Stored: true, Failures: []string{"ckpt-commit failed"}}, 0},
	} {
		o := WaitOptions{FirstTimeout: first, NeedCommit: c.need}
		if got := o.patience(&c.out); got != c.want {
			t.Errorf("need %v, %+v: %v, not %v", c.need, c.out, got, c.want)
		}
	}
	if o := (WaitOptions{FirstTimeout: brief, NeedCommit: true}); o.patience(&Outcome{Taken: true, Stored: true}) > brief {
		t.Error("it waits longer than it may")
	}
	h := newHold(t)
	newPeer(t, h.Ref()).must("take write data", "ok")
	expect(t, wait(t, h, WaitOptions{FirstTimeout: time.Hour, NeedCommit: true}), Outcome{Taken: true, Stored: true})
}

func TestDataHeld(t *testing.T) {
	h := newHold(t)
	a, b := newPeer(t, h.Ref()), newPeer(t, h.Ref())
	held := func(want bool, after string) {
		t.Helper()
		if got := h.DataHeld(); got != want {
			t.Errorf("after %s: DataHeld is %v", after, got)
		}
	}
	held(false, "nothing")
	a.must("take dedup description")
	held(false, "a description's hold")
	b.must("take write data")
	held(true, "a hold of data")
	a.must("ok")
	held(true, "the other's end")
	b.must("committed")
	held(false, "its end")
}

// Many may hold at once, and the one that dies is missed.
func TestManyHolders(t *testing.T) {
	h := newHold(t)
	const n = 20
	var peers []*peer
	for range n {
		p := newPeer(t, h.Ref())
		p.must("take tee data")
		peers = append(peers, p)
	}
	for i, p := range peers {
		if i == 7 {
			p.kill()
			continue
		}
		p.must("ok")
	}
	expect(t, wait(t, h, WaitOptions{}), Outcome{Taken: true, Failures: []string{"ckpt-tee died before it was done"}})
}

func TestDescriptors(t *testing.T) {
	newHold(t).Close() // what the runtime opens once is open now
	before := descriptors(t)
	h := newHold(t)
	ref := h.Ref()
	holder, err := Take(ref, "a", Data)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(holder.OK(), holder.Close(), holder.OK(), h.Close(), h.Close()); err != nil {
		t.Error(err)
	}
	ref.StartTime++
	if _, err := Take(ref, "a", Data); err == nil {
		t.Error("took it from another process")
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	var none *Holder
	if err := errors.Join(none.OK(), none.Failed(), none.Committed(1), none.Close()); err != nil {
		t.Error(err)
	}
}

// TestStop: a holder of the data can have the target stopped for a move, once, and with one id.
func TestStop(t *testing.T) {
	h, err := New("00112233445566778899aabbccddeeff")
	testkit.Check(t, err)
	defer h.Close()
	describes, err := Take(h.Ref(), "dedup", Description)
	testkit.Check(t, err)
	stores, err := Take(h.Ref(), "commit", Data)
	testkit.Check(t, err)
	testkit.Check(t, describes.Stop("no"))
	testkit.Check(t, describes.OK())
	testkit.Check(t, stores.Stop("one"))
	testkit.Check(t, stores.Stop("two"))
	if stores.Gone() {
		t.Error("it is gone while somebody waits")
	}
	var ids []string
	stopped := func(id string) error {
		ids = append(ids, id)
		return stores.Committed(1)
	}
	expect(t, wait(t, h, WaitOptions{NeedCommit: true, Stop: stopped}), Outcome{Taken: true, Stored: true, Committed: true, Bytes: 1})
	if len(ids) != 1 || ids[0] != "one" {
		t.Errorf("it was asked for %q", ids)
	}
	again, err := New("00112233445566778899aabbccddeeff")
	testkit.Check(t, err)
	stores, err = Take(again.Ref(), "commit", Data)
	testkit.Check(t, err)
	testkit.Check(t, again.Close())
	if !stores.Gone() {
		t.Error("nobody waits, and it is not gone")
	}
	testkit.Check(t, stores.Close())
}
