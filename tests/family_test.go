package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"ckpt/internal/proc"
)

// TestFamily saves a parent of 500 MiB with twenty forked children: the image
// holds the pages once, and after the restore they take about the memory they
// took before.
func TestFamily(t *testing.T) {
	f := &feature{t: t, args: []string{buildC(t, "family.c")}}
	f.start()
	before := familyPSS(t, f.pid)
	f.shell(fmt.Sprintf("ckpt-collect --leave killed %d | ckpt-dedup | ckpt-write -l 0 > img", f.pid))
	st, err := os.Stat(filepath.Join(f.dir, "img"))
	if err != nil {
		t.Fatal(err)
	}
	const pages = 500 << 20
	if st.Size() < pages || st.Size() > pages*11/10 {
		t.Errorf("the image has %d bytes, for pages of %d", st.Size(), pages)
	}
	apply := f.restore()
	after := familyPSS(t, f.pid)
	t.Logf("PSS before %d kB, after %d kB; image %d bytes", before, after, st.Size())
	if after < before*9/10 || after > before*11/10 {
		t.Errorf("they took %d kB before and take %d kB after", before, after)
	}
	f.proceed()
	f.judge(apply)
}

var pssLine = regexp.MustCompile(`(?m)^Pss: +(\d+) kB`)

// familyPSS is the memory of a process and its children in kB, with each page
// counted once.
func familyPSS(t *testing.T, pid int) (kB int) {
	t.Helper()
	pids, err := proc.Children(pid)
	if err != nil {
		t.Fatal(err)
	}
	if len(pids) != 20 {
		t.Fatalf("it has %d children", len(pids))
	}
	for _, p := range append(pids, pid) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p))
		if err != nil {
			t.Fatal(err)
		}
		m := pssLine.FindSubmatch(b)
		if m == nil {
			t.Fatalf("pid %d has no Pss line", p)
		}
		n, _ := strconv.Atoi(string(m[1]))
		kB += n
	}
	return kB
}
