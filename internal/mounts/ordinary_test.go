package mounts

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/sys"
	"ckpt/stream/record"
)

// TestOrdinary: in an image without a process of root's, nothing that root hides here is shown.
func TestOrdinary(t *testing.T) {
	users := func() []*sys.FSIdentity { return []*sys.FSIdentity{{UID: 65534, GID: 65534}} }
	for name, c := range map[string]struct{ before, script, after, want string }{
		"processes":    {before: "true", script: "mkdir $D/p; mount -t proc p $D/p", after: "mount -t proc -o hidepid=2 hides /proc", want: "/p was mounted / of a proc file system, which would show processes that /proc hides here"},
		"uncovered":    {before: "mkdir -m 711 $D/h $D/h/c; echo secret > $D/h/c/f", script: "mount --bind $D/h $D/h", after: "mount -t tmpfs y $D/h/c", want: "/h/c hides a part here, and nothing would there [unmount that; or"},
		"under others": {before: "mkdir -m 711 $D/h; mount -t tmpfs x $D/h; echo secret > $D/h/f", script: "true", after: "mount -t tmpfs y $D/h", want: "/h was mounted / of a tmpfs file system, and user 65534 has no way to that here"},
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			dir := t.TempDir()
			for d := dir; d != "/"; d = filepath.Dir(d) {
				if err := os.Chmod(d, 0o711|permOf(t, d)); err != nil {
					t.Fatal(err)
				}
			}
			sh(t, "D="+dir+"; "+c.before)
			t.Cleanup(func() {
				_ = unix.Unmount(dir+"/h/c", unix.MNT_DETACH)
				_, _ = unix.Unmount(dir+"/h", unix.MNT_DETACH), unix.Unmount(dir+"/h", unix.MNT_DETACH)
			})
			tg := start(t, dir, c.script)
			s := save(t, tg.pid)
			tg.kill()
			r := trusting(t)
			r.Users = users
			if said := checked(t, s, r); strings.Contains(said, dir+c.want) {
				t.Errorf("before: %s", said)
			}
			sh(t, "D="+dir+"; "+c.after)
			if name == "processes" {
				t.Cleanup(func() { _ = unix.Unmount("/proc", unix.MNT_DETACH) })
			}
			r = trusting(t)
			r.Users = users
			if said := checked(t, s, r); !strings.Contains(said, dir+c.want) {
				t.Errorf("%q does not say %q", said, c.want)
			}
			if said := checked(t, s, trusting(t)); said != "" {
				t.Errorf("of root's: %s", said)
			}
		})
	}
}

func permOf(t *testing.T, p string) os.FileMode {
	st, err := os.Stat(p)
	if err != nil {
		t.Fatal(err)
	}
	return st.Mode() & (os.ModePerm | os.ModeSticky)
}

// TestOrdinaryPropagation: what root mounts on the host later may have set-user-id programs.
func TestOrdinaryPropagation(t *testing.T) {
	dir := t.TempDir()
	sh(t, "mkdir "+dir+"/h; mount -t tmpfs x "+dir+"/h; mkdir "+dir+"/h/a; mount --make-shared "+dir+"/h; chmod 711 "+dir)
	t.Cleanup(func() { _ = unix.Unmount(dir+"/h", unix.MNT_DETACH) })
	tg := startPeer(t, dir, "mount --make-slave $D/h")
	s := save(t, tg.pid)
	tg.kill()
	r, notes := trusting(t), ""
	r.Users = func() []*sys.FSIdentity { return []*sys.FSIdentity{{UID: 0, GID: 0}} } // who has a way to all that is mounted
	r.Note = func(f string, a ...any) { notes += fmt.Sprintf(f+"\n", a...) }
	n := restore(t, s, r).Made(1)
	sh(t, "mount -t tmpfs new "+dir+"/h/a")
	defer sh(t, "umount "+dir+"/h/a")
	for line := range strings.Lines(runIn(t, n, "cat /proc/self/mountinfo")) {
		if strings.Contains(line, "master:") || !strings.Contains(line, "nosuid") || strings.Contains(line, dir+"/h/a ") {
			t.Errorf("it has %s", line)
		}
	}
	if strings.Count(notes, "no process of the image is root's") != 2 {
		t.Errorf("notes: %q", notes)
	}
}

// TestIsSame: what it takes to be taken for a file of the host's.
func TestIsSame(t *testing.T) {
	fh := func(b byte) *record.Handle { return &record.Handle{Type: 1, Bytes: []byte{b}} }
	full := record.FSIdentity{Dev: 1, Ino: 2, Mode: unix.S_IFDIR, BtimeNS: 3, FH: fh(4)}
	for name, c := range map[string]struct {
		change         func(id *record.FSIdentity)
		same, sameBoot bool
	}{
		"as it was":              {func(*record.FSIdentity) {}, true, true},
		"without a time":         {func(id *record.FSIdentity) { id.BtimeNS = 0 }, true, true},
		"without a handle":       {func(id *record.FSIdentity) { id.FH = nil }, true, true},
		"without both":           {func(id *record.FSIdentity) { id.BtimeNS, id.FH = 0, nil }, false, true},
		"without both, rebooted": {func(id *record.FSIdentity) { id.BtimeNS, id.FH = 0, nil }, false, false},
		"of another device":      {func(id *record.FSIdentity) { id.Dev = 9 }, false, true},
		"after a reboot":         {func(id *record.FSIdentity) { id.Dev = 9 }, true, false},
		"of another time":        {func(id *record.FSIdentity) { id.BtimeNS = 9 }, false, true},
		"of another handle":      {func(id *record.FSIdentity) { id.FH = fh(9) }, false, true},
		"of another number":      {func(id *record.FSIdentity) { id.Ino = 9 }, false, true},
		"of another kind":        {func(id *record.FSIdentity) { id.Mode = unix.S_IFREG }, false, true},
		"of other permissions":   {func(id *record.FSIdentity) { id.Mode |= 0o700 }, true, true},
	} {
		was := full
		if c.change(&was); isSame(&was, &full, c.sameBoot) != c.same || isSame(&full, &was, c.sameBoot) != c.same {
			t.Errorf("%s: not %v", name, c.same)
		}
	}
	number := record.FSIdentity{Dev: 1, Ino: 2, Mode: unix.S_IFDIR} // as devpts has it
	if !isSame(&number, &number, true) || isSame(&number, &number, false) {
		t.Error("where nothing else is known, a number is enough until the next boot")
	}
	if isSame(nil, &full, true) {
		t.Error("nothing is a file")
	}
}

// TestCovered: what is enough that nothing leads to a mount.
func TestCovered(t *testing.T) {
	at := func(id, parent int, point string) *mount {
		return &mount{Mount: &record.Mount{ID: id, Parent: parent, Point: point, Root: "/"}}
	}
	const secret, inner, other = 2, 3, 4
	for name, c := range map[string]struct {
		inner, other *mount
		change       func(secret, inner, other *mount)
		want         bool
	}{
		"by one on its root":   {at(inner, secret, "/d/in"), at(other, secret, "/d"), func(_, _, _ *mount) {}, true},
		"by what is left out":  {at(inner, secret, "/d/in"), at(other, secret, "/d"), func(_, _, o *mount) { o.left = true }, false},
		"by one above it":      {at(inner, secret, "/d/in"), at(other, 1, "/e"), func(_, _, _ *mount) {}, false},
		"with files of its":    {at(inner, secret, "/d/in"), at(other, secret, "/d"), func(s, _, _ *mount) { s.wanted = []string{"/d/f"} }, false},
		"with files on others": {at(inner, secret, "/d/in"), at(other, secret, "/d"), func(_, i, _ *mount) { i.wanted = []string{"/d/in"} }, false},
	} {
		s := at(secret, 1, "/d")
		if _, err := arrange([]*mount{at(1, 0, "/"), s, c.inner, c.other}); err != nil {
			t.Fatal(err)
		}
		if c.change(s, c.inner, c.other); s.isCovered() != c.want {
			t.Errorf("%s: not %v", name, c.want)
		}
	}
	root := at(1, 0, "/")
	if _, err := arrange([]*mount{root, at(secret, 1, "/")}); err != nil || root.isCovered() {
		t.Errorf("the root is covered, %v", err)
	}
}
