package mounts

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/ends"
	"ckpt/internal/proc"
	"ckpt/stream"
)

// decided decides for mount points.
func decided(d map[string]ends.Decision) func(string) *ends.Decision {
	return func(point string) *ends.Decision {
		if how, ok := d[point]; ok {
			return &how
		}
		return nil
	}
}

// checked loads what was saved and checks it.
func checked(t *testing.T, s *saved, r *Restorer) string {
	t.Helper()
	loadOnly(t, s, r)
	var texts []string
	for _, err := range r.Check() {
		texts = append(texts, err.Error()+hintsOf(err))
	}
	return strings.Join(texts, "\n")
}

func hintsOf(err error) string {
	if h, ok := err.(interface{ Hint() string }); ok {
		return " [" + h.Hint() + "]"
	}
	return ""
}

// TestOutsideEnds restores a bind of a folder that is gone, or another one now.
func TestOutsideEnds(t *testing.T) {
	dir := t.TempDir()
	tg := start(t, dir, `mkdir -p $D/src $D/b $D/c; echo old > $D/src/f; touch $D/file; mount --bind $D/src $D/b; mount -t tmpfs x $D/b; mount --bind $D/file $D/file`)
	s := save(t, tg.pid)
	tg.kill()
	b := dir + "/b"
	if said := checked(t, s, trusting(t)); said != "" {
		t.Errorf("all is there, and %s", said)
	}
	sh(t, "mv "+dir+"/src "+dir+"/moved; mkdir "+dir+"/src "+dir+"/new; echo new > "+dir+"/new/f; rm "+dir+"/file; touch "+dir+"/file")
	said := checked(t, s, trusting(t))
	for _, want := range []string{b + " was mounted", "--end 'mnt:" + b + "=" + dir + "/src'", dir + "/file was mounted"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q does not say %q", said, want)
		}
	}
	r := trusting(t)
	r.Decided = decided(map[string]ends.Decision{b: {Action: ends.File, Path: dir + "/file"}})
	if said := checked(t, s, r); !strings.Contains(said, "is no folder") {
		t.Errorf("a file for a folder: %q", said)
	}
	r = trusting(t)
	r.Decided = decided(map[string]ends.Decision{b: {Action: ends.File, Path: dir + "/new"}, dir + "/file": {Action: ends.Close}})
	n := restore(t, s, r).Made(1)
	out := runIn(t, n, "umount -l "+b+"; cat "+b+"/f; cat /proc/self/mountinfo")
	if !strings.HasPrefix(out, "new\n") || strings.Contains(out, dir+"/file") {
		t.Errorf("the namespace has %s", out)
	}
	r = trusting(t)
	r.Decided = decided(map[string]ends.Decision{b: {Action: ends.Close}, dir + "/file": {Action: ends.Close}})
	if out := runIn(t, restore(t, s, r).Made(1), "cat /proc/self/mountinfo"); strings.Contains(out, b) {
		t.Errorf("what was left out, or is on that, is there: %s", out)
	}
}

// TestRoot restores a namespace with another root file system.
func TestRoot(t *testing.T) {
	dir := t.TempDir()
	tg := start(t, dir, `mkdir -p $D/r/old $D/r/usr $D/r/proc $D/r/tmp; for d in bin lib lib64; do ln -s usr/$d $D/r/$d; done; mount --bind $D/r $D/r; mount --bind /usr $D/r/usr; cd $D/r
		mount -t proc proc proc; mount -t tmpfs tmp tmp; echo x > tmp/x; pivot_root . old; umount -l /old; cd /`)
	s := save(t, tg.pid)
	tg.kill()
	other := filepath.Join(dir, "other")
	sh(t, "mkdir -p "+other+"/usr; cp -a "+dir+"/r/bin "+dir+"/r/lib "+dir+"/r/lib64 "+other+"; echo here > "+other+"/mark")
	r := trusting(t)
	r.Root = other
	said := checked(t, s, r)
	for _, want := range []string{"mkdir -p " + other + "/proc", "mkdir -p " + other + "/tmp"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q does not say %q", said, want)
		}
	}
	sh(t, "mkdir "+other+"/proc "+other+"/tmp")
	r = trusting(t)
	r.Root = other
	if out := runIn(t, restore(t, s, r).Made(1), "cat /mark /tmp/x; ls /"); out != "here\nx\nbin\nlib\nlib64\nmark\nproc\ntmp\nusr\n" {
		t.Errorf("the namespace has %q", out)
	}
}

// TestTighter: what the host has mounted with less rights is not given more.
func TestTighter(t *testing.T) {
	dir := t.TempDir()
	sh(t, "mkdir "+dir+"/h "+dir+"/b; mount -t tmpfs x "+dir+"/h; touch "+dir+"/h/f")
	t.Cleanup(func() { _ = unix.Unmount(dir+"/h", unix.MNT_DETACH) })
	tg := start(t, dir, `mount --bind $D/h $D/b`)
	s := save(t, tg.pid)
	tg.kill()
	sh(t, "mount -o remount,bind,ro,nosuid,noexec "+dir+"/h")
	r, notes := trusting(t), ""
	r.Note = func(f string, a ...any) { notes += fmt.Sprintf(f+"\n", a...) }
	out := runIn(t, restore(t, s, r).Made(1), "grep ' "+dir+"/b ' /proc/self/mountinfo")
	if !strings.Contains(out, " ro,nosuid,noexec,") || strings.Count(notes, dir+"/b comes back ") != 3 {
		t.Errorf("mounted %s, and noted %q", out, notes)
	}
}

// TestHostPropagation: a restored mount gets what is mounted on the host if it did, and gives
// the host nothing.
func TestHostPropagation(t *testing.T) {
	dir := t.TempDir()
	sh(t, "mkdir "+dir+"/h; mount -t tmpfs x "+dir+"/h; mkdir "+dir+"/h/a "+dir+"/h/b; mount --make-shared "+dir+"/h")
	t.Cleanup(func() { _ = unix.Unmount(dir+"/h", unix.MNT_DETACH) })
	for how, propagation := range map[string]string{"slave": "--make-slave", "peer": "--make-shared", "private": "--make-private"} {
		t.Run(how, func(t *testing.T) {
			tg := start(t, dir, "nsenter --mount=/proc/$PPID/ns/mnt true; mount "+propagation+" $D/h")
			if how != "private" { // unshare(1) makes all private
				tg.kill()
				tg = startPeer(t, dir, "mount "+propagation+" $D/h")
			}
			s := save(t, tg.pid)
			tg.kill()
			r, notes := trusting(t), ""
			r.Note = func(f string, a ...any) { notes += fmt.Sprintf(f+"\n", a...) }
			n := restore(t, s, r).Made(1)
			if strings.Contains(notes, "not the other way round") != (how == "peer") {
				t.Errorf("notes: %q", notes)
			}
			sh(t, "mount -t tmpfs new "+dir+"/h/a")
			defer sh(t, "umount "+dir+"/h/a")
			out := runIn(t, n, "cat /proc/self/mountinfo; mount -t tmpfs inner "+dir+"/h/b")
			if strings.Contains(out, dir+"/h/a ") != (how != "private") {
				t.Errorf("what the host mounted: %s", out)
			}
			if strings.Contains(mountinfo(t, os.Getpid()), dir+"/h/b ") {
				t.Error("the host got what was mounted inside")
			}
		})
	}
}

// TestSeveral restores two namespaces that have file systems in common.
func TestSeveral(t *testing.T) {
	dir := t.TempDir()
	tg := start(t, dir, `mkdir $D/t $D/u; mount -t tmpfs x $D/t; echo 1 > $D/t/f
		unshare --mount --propagation unchanged bash -ec 'mount -t tmpfs y '$D'/u; echo 2 > '$D'/u/g; umount '$D'/t; mount --bind '$D'/u '$D'/t; umount '$D'/t; echo inner > '$D'/u/h; exec sleep 300' 9>&- &
		until [ -e $D/done ]; do nsenter --mount=/proc/$!/ns/mnt test -e $D/u/h && touch $D/done; done; echo $! > $D/pid`)
	var inner int
	if _, err := fmt.Sscan(sh(t, "cat "+dir+"/pid"), &inner); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Kill(inner, unix.SIGKILL) })
	want := []string{tableText(t, mountinfo(t, tg.pid)), tableText(t, mountinfo(t, inner))}
	s := save(t, tg.pid, inner)
	_ = unix.Kill(inner, unix.SIGKILL)
	tg.kill()
	r := restore(t, s, trusting(t))
	for i := range want {
		if got := tableText(t, runIn(t, r.Made(uint64(i+1)), "cat /proc/self/mountinfo")); got != want[i] {
			t.Errorf("namespace %d: %s, not %s", i, got, want[i])
		}
	}
}

// blockers are what can't be saved.
var blockers = map[string]struct{ script, want string }{
	"a process's folder":    {`mkdir $D/p; mount --bind /proc/self/task $D/p`, "of a process"},
	"files in huge pages":   {`mkdir $D/h; mount -t hugetlbfs h $D/h; touch $D/h/f`, "hugetlbfs at"},
	"a pseudoterminal":      {`mkdir $D/p; mount -t devpts -o newinstance,ptmxmode=666 p $D/p; exec 8<>$D/p/ptmx`, "the pseudoterminal"},
	"another pid namespace": {`mkdir $D/p; unshare --pid --fork --kill-child sh -c "mount -t proc p $D/p; echo >$D/done; exec sleep 300" & until [ -e $D/done ]; do sleep 0.01; done; kill -9 $!; wait $! 2>/dev/null || true; while [ -e $D/p/1 ]; do sleep 0.01; done`, "pid namespace"},
	"a covered root":        {`mount -t tmpfs x /`, "covered by another on /"},
	"a path too long": {`mkdir $D/t; mount -t tmpfs x $D/t; python3 -c 'import os, sys
os.chdir(sys.argv[1])
for i in range(30):
    os.mkdir("d" * 200)
    os.chdir("d" * 200)' $D/t`, "with a path of more than 4095 bytes in it, which can't be saved"},
	"a deleted root": {`mkdir $D/d $D/e; mount --bind $D/d $D/e; rmdir $D/d`, "whose root was deleted"},
}

func TestBlocked(t *testing.T) {
	for name, c := range blockers {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			tg := start(t, t.TempDir(), c.script)
			said, err := trySave(tg.pid)
			if all := fmt.Sprint(said, err); !strings.Contains(all, c.want) {
				t.Errorf("%q does not say %q", all, c.want)
			}
		})
	}
	t.Run("user_namespace", func(t *testing.T) {
		tg := startWith(t, []string{"unshare", "--user", "--map-root-user", "--mount"}, t.TempDir(), "")
		if said, err := trySave(tg.pid); err != nil || len(said) != 1 || !strings.Contains(said[0], "another user namespace") {
			t.Errorf("%q, %v", said, err)
		}
	})
}

func trySave(pid int) (said []string, err error) {
	id := uint64(100)
	c := &Collector{NewID: func() uint64 { id++; return id }, Emit: discard,
		Block: func(_ int, why error) { said = append(said, why.Error()) }, Note: func(int, error) {}}
	err = c.Add(pid, 1)
	if err == nil {
		err = c.Describe()
	}
	return said, errors.Join(err, c.Close())
}

// TestPseudoterminal restores a mount of a pseudoterminal, which comes when that is there.
func TestPseudoterminal(t *testing.T) {
	dir := t.TempDir()
	tg := start(t, dir, `mkdir $D/p; touch $D/console; mount -t devpts -o newinstance,ptmxmode=666,mode=620 p $D/p; exec 8<>$D/p/ptmx
		python3 -c 'import fcntl,struct; fcntl.ioctl(8, 0x40045431, struct.pack("i", 0))'; mount --bind $D/p/0 $D/console`)
	want := tableText(t, mountinfo(t, tg.pid))
	s := &saved{}
	s.collect(t, func(c *Collector) { c.HasPty = func(_ uint64, n int) bool { return n == 0 } }, tg.pid)
	tg.kill()
	r := trusting(t)
	t.Cleanup(func() { _ = r.Close() })
	load(t, s, r)
	n := r.Made(1)
	if err := r.Finish(); err == nil || !strings.Contains(err.Error(), "/0 of devpts at "+dir+"/p at "+dir+"/console") {
		t.Errorf("without a pseudoterminal: %v", err)
	}
	ptmx, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d%s/p/ptmx", n.Root().Fd(), dir), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer ptmx.Close()
	if err := r.Finish(); err != nil {
		t.Fatal(err)
	}
	if got := tableText(t, runIn(t, n, "cat /proc/self/mountinfo")); got != want {
		t.Errorf("%s, not %s", got, want)
	}
}

// TestNotTrusted: an image whose processes are not all root's gives nobody root's rights.
func TestNotTrusted(t *testing.T) {
	dir := t.TempDir()
	tg := start(t, dir, roundTrips["set-user-id"].script+`; mknod $D/t/sda b 8 0; chmod 666 $D/t/sda; mknod -m 666 $D/t/null c 1 3; mkdir -m 2755 $D/t/d`)
	s := save(t, tg.pid)
	tg.kill()
	r, notes := trusting(t), 0
	r.Owns = func(uint32, uint32) bool { return false }
	r.Note = func(string, ...any) { notes++ }
	n := restore(t, s, r).Made(1)
	out := runIn(t, n, "cd "+dir+"/t; stat -c '%n %a' *; python3 -c 'import os; print(*os.listxattr(\"cap\"))'")
	lines := strings.Fields(out)
	want := strings.Fields("cap 755 d 2755 null 666 sda 0 true 755")
	if !slices.Equal(lines, want) || notes != 3 {
		t.Errorf("%q with %d notes", lines, notes)
	}
}

// TestMoved: what was described is what is sent, or nothing is.
func TestMoved(t *testing.T) {
	for how, script := range map[string]string{"link": "ln -s /etc/passwd", "other": "echo other >", "fifo": "mkfifo"} {
		t.Run(how, func(t *testing.T) {
			dir := t.TempDir()
			tg := start(t, dir, `mkdir $D/t; mount -t tmpfs x $D/t; echo one > $D/t/f`)
			id := uint64(100)
			c := &Collector{NewID: func() uint64 { id++; return id }, Emit: discard, Block: func(_ int, why error) { t.Error(why) }, Note: func(int, error) {}}
			if err := errors.Join(c.Add(tg.pid, 1), c.Describe()); err != nil {
				t.Fatal(err)
			}
			sh(t, fmt.Sprintf("cd /proc/%d/root%s/t; mv f g; %s f", tg.pid, dir, script))
			var sent bytes.Buffer
			err := c.Send(stream.NewWriter(&sent), func() bool { return false })
			if err == nil || !strings.Contains(err.Error(), "/f is no longer the file that was described") {
				t.Errorf("sent %q, %v", sent.Bytes(), err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestServed: no path is looked up on what somebody serves, who may stand still.
func TestServed(t *testing.T) {
	root, err := arrange(parentsFirst([]proc.Mount{{ID: 1, Point: "/", Root: "/", FSType: "ext4"}, {ID: 2, Parent: 1, Point: "/f", Root: "/", FSType: "fuse.x"},
		{ID: 3, Parent: 2, Point: "/f/a/b", Root: "/", FSType: "ext4"}, {ID: 4, Parent: 1, Point: "/g", Root: "/", FSType: "ext4"}}))
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]bool{"/": false, "/f": false, "/f/a": true, "/f/a/b": true, "/f/a/b/c": true, "/fa": false, "/g/f": false} {
		if leadsThroughServed(root, p) != want {
			t.Errorf("%s: not %v", p, want)
		}
	}
}

// TestFixedWay: who could have a folder be another for a moment.
func TestFixedWay(t *testing.T) {
	const dir = "/mnt" // all above is root's
	sh(t, "mount -t tmpfs -o mode=755 x /mnt; cd /mnt; mkdir -p a/b open/b sticky/b sticky/his his/b; chmod 777 open; chmod 1777 sticky; chown 7 his sticky/his")
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	for p, want := range map[string]bool{"/": true, "/a/b": true, "/open": true, "/open/b": false, "/sticky/b": true, "/sticky/his": false, "/his": true, "/his/b": false} {
		if err := fixedWay(filepath.Join(dir, p)); (err == nil) != want {
			t.Errorf("%s: %v", p, err)
		}
	}
	if got := slices.Collect(ancestors("/a/bc/d")); !slices.Equal(got, []string{"/", "/a", "/a/bc", "/a/bc/d"}) {
		t.Errorf("%q", got)
	}
}

// TestChecking: who only checks an image with overlays does not write to their folders, as the
// kernel does when it mounts one.
func TestChecking(t *testing.T) {
	for name, script := range map[string]string{
		"of the host's": `mkdir $D/l $D/u $D/w $D/o; echo 1 > $D/l/a; mount -t overlay -o lowerdir=$D/l,upperdir=$D/u,workdir=$D/w,index=on o $D/o; echo 2 > $D/o/b`,
		"inside": `mkdir $D/x $D/h $D/o; mount --bind $D/x $D/h; cd $D/h; mkdir l u w; echo 1 > l/a
			mount -t overlay -o lowerdir=$D/h/l,upperdir=$D/h/u,workdir=$D/h/w o $D/o; echo 2 > $D/o/b`,
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			dir := t.TempDir()
			tg := start(t, dir, script)
			s := save(t, tg.pid)
			tg.kill()
			work := strings.TrimSpace(sh(t, "find "+dir+" -name work -path '*/w/*'"))
			sh(t, "mkdir "+work+"/left; touch "+work+"/left/f")
			before := treeText(t, dir)
			t.Run("check", func(t *testing.T) {
				r := trusting(t)
				r.Checking = true
				if out := runIn(t, restore(t, s, r).Made(1), "cat "+dir+"/o/a "+dir+"/o/b"); out != "1\n2\n" {
					t.Errorf("the overlay has %q", out)
				}
				if now := treeText(t, dir); now != before {
					t.Errorf("the host has %s, and not %s", now, before)
				}
			})
			runIn(t, restore(t, s, trusting(t)).Made(1), "echo 3 > "+dir+"/o/c")
			if _, err := os.Stat(work + "/left/f"); err == nil {
				t.Error("the kernel empties no work folder, so that this shows nothing")
			}
		})
	}
}
