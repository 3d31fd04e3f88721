package proc

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseMounts(t *testing.T) {
	all, err := ParseMounts([]byte(`32 31 0:29 /a\134b /sys/fs/c\040pu rw,relatime shared:9 master:1 - cgroup cgroup rw,cpu,cpuacct` + "\n" +
		`41 31 0:38 / / ro,noatime unbindable - overlay a\040b ro,lowerdir=/a\134:b:/c\054d` + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "mounts", all, []Mount{
		{ID: 32, Parent: 31, Dev: unix.Mkdev(0, 29), Root: `/a\b`, Point: "/sys/fs/c pu", Flags: []string{"rw", "relatime"}, Shared: 9, Master: 1,
			FSType: "cgroup", Source: "cgroup", Options: []string{"rw", "cpu", "cpuacct"}},
		{ID: 41, Parent: 31, Dev: unix.Mkdev(0, 38), Root: "/", Point: "/", Flags: []string{"ro", "noatime"}, Unbindable: true,
			FSType: "overlay", Source: "a b", Options: []string{"ro", `lowerdir=/a\:b:/c,d`}},
	})
	for _, bad := range []string{"x", "32 31 0:29 / /x rw", "32 31 0-29 / /x rw - a b c", "a 31 0:29 / /x rw - a b c", "32 31 0:29 / /x - a b c", "32 31 0:29 / /x rw - a b", "32 x 0:29 / /x rw - a b c", "32 31 0:29 / /x rw shared:y - a b c"} {
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
