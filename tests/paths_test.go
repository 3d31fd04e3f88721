package tests

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// nobody is a user with no rights at all.
const nobody = 65534

// victim is a program of user nobody that has something open in a folder of its
// own, and a folder only root may enter with things of the same kinds.
type victim struct {
	t         *testing.T
	dir, root string
	pid       int
}

// newVictim starts paths.c with what it is to open, relative to its folder.
func newVictim(t *testing.T, kind, path string) *victim {
	t.Helper()
	v := &victim{t: t, dir: t.TempDir(), root: t.TempDir()}
	// Everybody may enter the folders down to its own.
	for d := v.dir; d != "/" && d != os.TempDir(); d = filepath.Dir(d) {
		v.do(os.Chmod(d, 0o755))
	}
	v.do(os.Chmod(v.root, 0o700))
	for _, in := range []string{v.dir, v.root} {
		v.do(os.WriteFile(filepath.Join(in, "file"), []byte("it is\n"), 0o600))
		v.do(unix.Mkfifo(filepath.Join(in, "fifo"), 0o600))
		v.do(os.Mkdir(filepath.Join(in, "folder"), 0o700))
	}
	for _, name := range []string{"file", "fifo", "folder"} {
		v.do(os.Symlink(filepath.Join(v.root, name), filepath.Join(v.dir, name+".link")))
	}
	v.do(filepath.Walk(v.dir, func(p string, _ os.FileInfo, err error) error {
		v.do(err)
		return os.Lchown(p, nobody, nobody)
	}))
	f := &feature{t: t, dir: v.dir, args: []string{buildC(t, "c/paths.c"), kind, path}}
	f.start()
	v.pid = f.pid
	f.save("killed")
	return v
}

func (v *victim) do(err error) {
	v.t.Helper()
	if err != nil {
		v.t.Fatal(err)
	}
}

// apply restores the victim, detached, and returns the status and what was said.
func (v *victim) apply(options string) (int, string) {
	v.t.Helper()
	cmd := exec.Command("bash", "-c", "ckpt-read < img | ckpt-apply --detach "+options)
	cmd.Dir = v.dir
	out, _ := cmd.CombinedOutput()
	return cmd.ProcessState.ExitCode(), string(out)
}

// opened is what the restored victim has open as descriptor 3 and as its folder;
// it is killed then.
func (v *victim) opened() (fd, cwd unix.Stat_t) {
	v.t.Helper()
	v.do(unix.Stat(fmt.Sprintf("/proc/%d/fd/3", v.pid), &fd))
	v.do(unix.Stat(fmt.Sprintf("/proc/%d/cwd", v.pid), &cwd))
	v.end()
	return fd, cwd
}

// end kills the restored victim, which is our child, see TestMain.
func (v *victim) end() {
	v.t.Helper()
	v.do(unix.Kill(v.pid, unix.SIGKILL))
	for begin := time.Now(); !gone(v.pid); time.Sleep(time.Millisecond) {
		if time.Since(begin) > time.Minute {
			v.t.Fatalf("pid %d does not end", v.pid)
		}
	}
}

// roots reports whether this is the name of something that belongs to root.
func (v *victim) roots(st unix.Stat_t, name string) bool {
	var its unix.Stat_t
	v.do(unix.Stat(filepath.Join(v.root, name), &its))
	return its.Dev == st.Dev && its.Ino == st.Ino
}

// refused checks that a restore fails and says all of these.
func (v *victim) refused(options string, says ...string) {
	v.t.Helper()
	status, out := v.apply(options)
	if status == 0 {
		v.end()
	}
	if status != 125 {
		v.t.Errorf("status %d:\n%s", status, out)
	}
	for _, s := range says {
		if !strings.Contains(out, s) {
			v.t.Errorf("it does not say %q:\n%s", s, out)
		}
	}
}

// restored checks that a restore succeeds, and that descriptor 3 is this.
func (v *victim) restored(options, path string) {
	v.t.Helper()
	var want unix.Stat_t
	v.do(unix.Stat(path, &want))
	if status, out := v.apply(options); status != 0 {
		v.t.Errorf("status %d:\n%s", status, out)
	} else if fd, _ := v.opened(); fd.Dev != want.Dev || fd.Ino != want.Ino {
		v.t.Errorf("it has another file open than %s", path)
	}
}

// TestCutBack restores with --files truncate while the program runs elsewhere,
// too: only what has another size is opened to be cut.
func TestCutBack(t *testing.T) {
	t.Parallel()
	v := newVictim(t, "file", "file")
	other := exec.Command(buildC(t, "c/paths.c"), "file", filepath.Join(v.dir, "file"))
	out, err := other.StdoutPipe()
	v.do(err)
	v.do(other.Start())
	defer func() { _ = other.Process.Kill(); _ = other.Wait() }()
	_, err = out.Read(make([]byte, 1)) // it is that program now
	v.do(err)
	file := filepath.Join(v.dir, "file")
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
	v.do(err)
	_, err = f.WriteString("and more\n")
	v.do(errors.Join(err, f.Close()))
	v.refused("", "grew by 9 bytes")
	v.restored("--files truncate", file)
	if got, err := os.ReadFile(file); err != nil || string(got) != "it is\n" {
		t.Errorf("the file has %q, %v", got, err)
	}
}

// TestFileGone restores a program whose file is gone: it is told whose it was,
// and how to do without it.
func TestFileGone(t *testing.T) {
	t.Parallel()
	v := newVictim(t, "file", "file")
	file := filepath.Join(v.dir, "file")
	v.do(os.Remove(file))
	v.refused("", fmt.Sprintf("%s, which pid %d (test-paths) had open, is not there", file, v.pid), fmt.Sprintf("hint: put it back, or restore with: --end '%s=null'", file))
	if status, out := v.apply(fmt.Sprintf("--end '%s=null'", file)); status != 0 {
		t.Errorf("status %d:\n%s", status, out)
	} else {
		v.end()
	}
}

// replace replaces what the victim had open.
func (v *victim) replace(name, by string) {
	v.t.Helper()
	v.do(os.RemoveAll(filepath.Join(v.dir, name)))
	v.do(os.Rename(by, filepath.Join(v.dir, name)))
}

// TestPaths restores a program of user nobody whose paths have come to lead
// elsewhere: what only root may open is not opened for it.
func TestPaths(t *testing.T) {
	for _, kind := range []string{"file", "fifo", "folder"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			v := newVictim(t, kind, kind)
			v.restored("", filepath.Join(v.dir, kind))
			v.do(unix.Renameat2(unix.AT_FDCWD, filepath.Join(v.dir, kind), unix.AT_FDCWD, filepath.Join(v.dir, kind+".link"), unix.RENAME_EXCHANGE))
			v.refused("--files same-path", kind, "symbolic link", "hint")
			v.replace(kind, filepath.Join(v.root, kind))
			v.refused("--files same-path", kind, "not the very file", "user 65534 may not")
			v.do(os.Lchown(filepath.Join(v.dir, kind), nobody, nobody))
			v.restored("--files same-path", filepath.Join(v.dir, kind))
		})
	}
	t.Run("reached-as-root", func(t *testing.T) {
		t.Parallel()
		secret := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(secret, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		v := newVictim(t, "root", secret)
		v.restored("", secret)
		v.do(os.WriteFile(secret+".new", nil, 0o600))
		v.do(os.Rename(secret+".new", secret))
		v.refused("--files same-path", "secret", "user 65534 may not")
	})
	t.Run("follow", func(t *testing.T) {
		t.Parallel()
		v := newVictim(t, "file", "file")
		edit := func(to string) {
			v.do(os.RemoveAll(filepath.Join(v.dir, "link")))
			v.do(os.Symlink(to, filepath.Join(v.dir, "link")))
		}
		v.do(os.Rename(filepath.Join(v.dir, "img"), filepath.Join(v.dir, "old")))
		cmd := exec.Command("bash", "-c", `set -o pipefail; ckpt-read < old | ckpt-json decode --data |
			jq -c 'if .type == "REG" and (.meta.path | endswith("/file")) then .meta.path |= sub("/file$"; "/link") | .meta.follow = true else . end' |
			ckpt-json encode | ckpt-write > img`)
		cmd.Dir = v.dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		edit("file")
		v.restored("--files same-path", filepath.Join(v.dir, "file"))
		edit(filepath.Join(v.root, "file"))
		v.refused("--files same-path", "link", "user 65534 may not")
	})
}

// TestSwappedPaths restores while user nobody swaps, as fast as it can, what the
// paths lead to with links to root's files. `make security` does it often.
func TestSwappedPaths(t *testing.T) {
	times := 10
	if os.Getenv("CKPT_SECURITY") != "" {
		times = 1000
	}
	for _, kinds := range [][]string{{"file"}, {"fifo", "folder"}} {
		t.Run(strings.Join(kinds, "-"), func(t *testing.T) {
			t.Parallel()
			for _, kind := range kinds {
				swapped(t, kind, times/len(kinds))
			}
		})
	}
}

// swapped restores one kind under a swapping loop.
func swapped(t *testing.T, kind string, times int) {
	v := newVictim(t, kind, kind)
	var atime unix.Stat_t
	v.do(unix.Stat(filepath.Join(v.root, kind), &atime))
	swap := exec.Command(buildC(t, "c/paths.c"), "swap", kind, kind+".link")
	swap.Dir = v.dir
	said := new(bytes.Buffer)
	swap.Stdout = said
	v.do(swap.Start())
	restored := 0
	for range times {
		switch status, out := v.apply("--files same-path"); status {
		case 0:
			restored++
			if fd, cwd := v.opened(); v.roots(fd, kind) || v.roots(cwd, kind) {
				t.Errorf("user nobody has root's %s open", kind)
			}
		case 125:
			if !strings.Contains(out, "symbolic link") && !strings.Contains(out, "is not there") {
				t.Errorf("it says:\n%s", out)
			}
		default:
			t.Fatalf("status %d:\n%s", status, out)
		}
	}
	v.do(swap.Process.Kill())
	_ = swap.Wait()
	if said.Len() > 0 {
		t.Errorf("the swapping says: %s", said)
	}
	t.Logf("%s: %d of %d restored", kind, restored, times)
	var now unix.Stat_t
	v.do(unix.Stat(filepath.Join(v.root, kind), &now))
	if kind == "file" && now.Atim != atime.Atim {
		t.Error("root's file was read")
	}
}
