package files

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ckpt/internal/object"
	"ckpt/internal/objhash"
	"ckpt/stream"
	"ckpt/stream/record"
)

// TestOtherNames: a file that had other names, which can't be found, is made without
// them, and the user is told, also if its file system has no handles to find it by.
func TestOtherNames(t *testing.T) {
	d := newDepot(t)
	for name, c := range map[string]struct {
		nlink  uint64
		handle *record.Handle
		told   bool
	}{
		"deleted":         {0, nil, false},
		"renamed":         {1, nil, true},
		"with a handle":   {1, &record.Handle{Type: 1, Bytes: make([]byte, 8)}, true},
		"two other names": {2, nil, true},
	} {
		var notes []string
		r := &Restorer{Restart: &object.Restart{Hash: objhash.New[object.Object](), Depot: d,
			Note: func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }}}
		reg := record.Reg{Object: record.Object{Objref: 1}, Stat: record.Stat{Path: filepath.Join(t.TempDir(), "log"), Mode: 0o100600},
			Deleted: true, Nlink: c.nlink, Handle: c.handle}
		rec, err := stream.New(record.TypeReg, &reg)
		if err != nil {
			t.Fatal(err)
		}
		obj, err := r.makeReg(rec)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if told := len(notes) == 1 && strings.Contains(notes[0], "had other names"); told != c.told {
			t.Errorf("%s: %q", name, notes)
		}
		_ = obj.Close()
	}
}

// TestUnusedStdio: errors about values of --stdio are sorted.
func TestUnusedStdio(t *testing.T) {
	p := decider{Restorer: &Restorer{}, stdioUsed: map[int]bool{}}
	var err error
	if p.Stdio, err = ParseStdio([]string{"2=c", "0=a", "1=b"}); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		errs := p.unusedStdio()
		if !slices.IsSortedFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) }) || len(errs) != 3 {
			t.Fatalf("%v", errs)
		}
	}
}
