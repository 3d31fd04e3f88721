package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// downtime is how long a program is gone, at least, when the test looks for that.
const downtime = 1100 * time.Millisecond

// TestClocks restores a program as if on another boot, whose clocks show more or
// less than here, then saves and restores it again within the time namespace that it
// got; and with --clock.
func TestClocks(t *testing.T) {
	var here unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &here); err != nil {
		t.Fatal(err)
	}
	young := fmt.Sprint(100 - here.Sec) // as if booted 100 s ago
	prog := buildC(t, "c/clocks.c")
	for name, ahead := range map[string][]string{"longer": {"100000", "200000"}, "shorter": {young, "0"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &feature{t: t, args: append([]string{prog}, ahead...)}
			f.start()
			f.pid = int(f.number("pid"))
			f.save("killed")
			time.Sleep(downtime)
			f.otherBoot()
			f.shell("ckpt-read < img | ckpt-apply --detach")
			was := f.offsets()
			if f.ownTime() {
				t.Error("it has the clocks of this system")
			}
			f.save("killed")
			apply := f.restore()
			if now := f.offsets(); now != was || f.ownTime() {
				t.Errorf("restored on the same boot its clocks are\n%s, were\n%s", now, was)
			}
			f.proceed()
			f.judge(apply)
			f.stoodStill()
		})
	}
	t.Run("keep", func(t *testing.T) {
		t.Parallel()
		f := &feature{t: t, args: []string{prog}}
		f.start()
		f.save("killed")
		time.Sleep(downtime)
		apply := f.restore("--clock", "keep")
		if f.ownTime() {
			t.Error("it has the clocks of this system")
		}
		f.proceed()
		f.judge(apply)
		f.stoodStill()
	})
	t.Run("host", func(t *testing.T) {
		t.Parallel()
		f := &feature{t: t, args: []string{prog}}
		f.start()
		f.save("killed")
		f.otherBoot()
		apply := f.restore("--clock", "host")
		if !f.ownTime() {
			t.Error("it has other clocks than this system")
		}
		f.proceed()
		f.judge(apply)
	})
}

// otherBoot makes the image look as if made on another boot.
func (f *feature) otherBoot() {
	f.t.Helper()
	f.shell(`ckpt-read < img | ckpt-json decode --data |
		jq -c 'if .type == "HEADER" then .meta.boot_id = "00000000-0000-4000-8000-000000000000" else . end' |
		ckpt-json encode | ckpt-write > other && mv other img`)
}

// number reads a number that the program wrote.
func (f *feature) number(name string) int64 {
	f.t.Helper()
	b, err := os.ReadFile(filepath.Join(f.dir, name))
	if err != nil {
		f.t.Fatal(err)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		f.t.Fatal(err)
	}
	return n
}

func (f *feature) offsets() string {
	f.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/timens_offsets", f.pid))
	if err != nil {
		f.t.Fatal(err)
	}
	return string(b)
}

// ownTime reports whether the program is in our time namespace.
func (f *feature) ownTime() bool {
	f.t.Helper()
	its, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/time", f.pid))
	if err != nil {
		f.t.Fatal(err)
	}
	ours, err := os.Readlink("/proc/self/ns/time")
	if err != nil {
		f.t.Fatal(err)
	}
	return its == ours
}

// stoodStill checks that the clocks stood still while the program was gone.
func (f *feature) stoodStill() {
	f.t.Helper()
	if lost := f.number("lost"); lost < int64(downtime/time.Millisecond)-100 {
		f.t.Errorf("the monotonic clock missed %d ms of at least %v", lost, downtime)
	}
}
