package proc

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseMounts(t *testing.T) {
	all, err := ParseMounts([]byte(`32 31 0:29 /a\134b /sys/fs/c\040pu rw,relatime shared:9 master:1 - cgroup cgroup rw,cpu,cpuacct` + "\n" +
		`41 31 0:38 / / rw - cgroup2 none rw` + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "mounts", all, []Mount{
		{32, unix.Mkdev(0, 29), `/a\b`, "/sys/fs/c pu", "cgroup", []string{"rw", "cpu", "cpuacct"}},
		{41, unix.Mkdev(0, 38), "/", "/", "cgroup2", []string{"rw"}},
	})
	for _, bad := range []string{"x", "32 31 0:29 / /x rw", "32 31 0-29 / /x rw - a b c", "a 31 0:29 / /x rw - a b c", "32 31 0:29 / /x - a b c", "32 31 0:29 / /x rw - a b"} {
		if _, err := ParseMounts([]byte(bad)); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for s, want := range map[string]string{`\040`: " ", `\04`: `\04`, `\`: `\`, `a\999b`: `a\999b`, `\134040`: `\040`} {
		equal(t, s, unescapeOctal(s), want)
	}
	if all, err = Mounts(os.Getpid()); err != nil || len(all) == 0 {
		t.Errorf("own mounts: %v, %v", all, err)
	}
}
