package files

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// openPair opens both sides of a pseudoterminal, and returns the path of the other side.
func openPair(t *testing.T) string {
	t.Helper()
	m, err := os.OpenFile(ptmxPath, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	n, err := unix.IoctlGetInt(int(m.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(m.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	path := fmt.Sprintf("%s%d", ptsDir, n)
	s, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return path
}

// Thousands of masters must not mean thousands of searches while the tree stands still.
func TestHolder(t *testing.T) {
	inTree := map[int]bool{}
	p := &ptmxs{c: &Collector{InTree: func(id int) bool { return inTree[id] }}, patience: time.Hour}
	path := openPair(t)
	check := func(path string, want int) {
		t.Helper()
		if got, err := p.holder(path); err != nil || got != want {
			t.Errorf("pid %d (%v) is said to have %s open, want %d", got, err, path, want)
		}
	}
	check(path, os.Getpid())
	check(openPair(t), 0) // it does not search again
	inTree[os.Getpid()] = true
	p.holders = nil
	check(path, 0)
	p.holders, p.patience = nil, -1
	if _, err := p.holder(path); err == nil || !strings.Contains(err.Error(), "can't be found out") {
		t.Errorf("a search without time for it: %v", err)
	}
}
