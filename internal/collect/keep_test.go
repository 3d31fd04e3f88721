package collect

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ckpt/internal/loan"
	"ckpt/internal/task"
	"ckpt/internal/testkit"
)

// TestCheckKeeps: what can be done before a process is killed, and what can't.
func TestCheckKeeps(t *testing.T) {
	p, q := &process{pid: os.Getpid()}, &process{pid: os.Getppid()}
	one := func(p *process, tid int, anyone bool) keep { return keep{p, task.Keep{TID: tid, Anyone: anyone}} }
	many := make([]keep, loan.MaxBack+1)
	for i := range many {
		many[i] = one(p, p.pid, false)
	}
	for name, c := range map[string]struct {
		keeps []keep
		place *loan.Place
		says  string
	}{
		"nothing":             {nil, nil, ""},
		"one":                 {[]keep{one(p, p.pid, false)}, nil, ""},
		"one of each":         {[]keep{one(p, p.pid, false), one(q, q.pid, false)}, nil, ""},
		"several of a thread": {many[:loan.MaxBack], nil, ""},
		"too many":            {many, nil, "for 5 sets of semaphores, which its end would change, and that is more than can be prevented"},
		"of two threads":      {[]keep{one(p, p.pid, false), one(p, 1, false)}, nil, "in more than one thread, "},
		"of any, not shared":  {[]keep{one(p, p.pid, false), one(p, 1<<22+1, true)}, nil, "in more than one thread"},
		"no room":             {[]keep{one(p, p.pid, false)}, &loan.Place{}, "has no room for the code that prevents that"},
	} {
		d := newDescription(&tree{byPID: map[int]*process{}})
		d.about[p], d.about[q] = &about{place: c.place}, &about{}
		d.keeps = c.keeps
		d.checkKeeps()
		err := d.blockers.err()
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, not %q", name, err, c.says)
		}
	}
}

// TestYamaScope: what Yama says, where it exists.
func TestYamaScope(t *testing.T) {
	file := filepath.Join(t.TempDir(), "scope")
	if got := yamaScope(file); got != "" {
		t.Errorf("%q", got)
	}
	testkit.Check(t, os.WriteFile(file, []byte("2\n"), 0o600))
	if got := yamaScope(file); got != "2" {
		t.Errorf("%q", got)
	}
}

// TestUnreported: that a filter died is reported here, because it can't have said so.
func TestUnreported(t *testing.T) {
	e := &HolderError{PID: 7, Failures: []string{"ckpt-dedup failed", "ckpt-write died before it was done"}}
	if err := e.unreported(); err == nil || err.Error() != "ckpt-write died before it was done, so pid 7 runs on" {
		t.Error(err)
	}
	e.Failures = e.Failures[:1]
	if err := e.unreported(); err != nil {
		t.Error(err)
	}
}
