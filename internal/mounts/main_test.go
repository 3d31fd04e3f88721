package mounts

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/stream"
	"ckpt/stream/record"
)

const apartSetting = "CKPT_TEST_APART"

// TestMain runs the tests in a mount namespace of their own, which is the host for them.
func TestMain(m *testing.M) {
	if os.Getenv(apartSetting) != "" {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			panic(err)
		}
		if file := os.Getenv(dieSetting); file != "" {
			restoreForever(file)
		}
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), apartSetting+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	} else if err != nil {
		panic(err)
	}
}

// target is a process in a mount namespace that a script made.
type target struct {
	t   testing.TB
	pid int
	cmd *exec.Cmd
}

// start runs a script in a new mount namespace, with a folder of its own as $D, and waits
// until it has said "ready".
func start(t testing.TB, dir, script string) *target {
	t.Helper()
	return startWith(t, []string{"unshare", "--mount"}, dir, script)
}

// startPeer does the same in a namespace whose mounts are peers of the host's.
func startPeer(t testing.TB, dir, script string) *target {
	t.Helper()
	return startWith(t, []string{"unshare", "--mount", "--propagation", "unchanged"}, dir, script)
}

func startWith(t testing.TB, how []string, dir, script string) *target {
	t.Helper()
	cmd := exec.Command(how[0], append(how[1:], "bash", "-ec", script+"\necho ready >&9; exec 9>&-; exec sleep 300")...)
	cmd.Env = append(os.Environ(), "D="+dir)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles = make([]*os.File, 7)
	cmd.ExtraFiles[6] = w
	cmd.Stderr, cmd.Stdout = os.Stderr, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	tg := &target{t: t, pid: cmd.Process.Pid, cmd: cmd}
	t.Cleanup(tg.kill)
	if line, _ := bufio.NewReader(r).ReadString('\n'); line != "ready\n" {
		t.Fatalf("the target's script failed: %q", line)
	}
	r.Close()
	return tg
}

func (tg *target) kill() {
	if tg.cmd != nil {
		_ = tg.cmd.Process.Kill()
		_ = tg.cmd.Wait()
		tg.cmd = nil
	}
}

// saved is a stream.
type saved struct {
	bytes.Buffer
	blocked, notes []string
}

// save collects the namespaces of some processes, which are objects 1, 2 and so on.
func save(t testing.TB, pids ...int) *saved {
	t.Helper()
	s := &saved{}
	s.collect(t, func(*Collector) {}, pids...)
	return s
}

func (s *saved) collect(t testing.TB, set func(*Collector), pids ...int) {
	t.Helper()
	id, w := uint64(100), stream.NewWriter(s)
	c := &Collector{
		NewID: func() uint64 { id++; return id },
		Emit:  w.Add,
		Block: func(_ int, why error) { s.blocked = append(s.blocked, why.Error()) },
		Note:  func(_ int, what error) { s.notes = append(s.notes, what.Error()) },
	}
	set(c)
	if err := w.Add(record.TypeHeader, &record.Header{}); err != nil {
		t.Fatal(err)
	}
	for i, pid := range pids {
		if err := c.Add(pid, uint64(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Describe(); err != nil {
		t.Fatal(err)
	}
	if err := c.Send(w, func() bool { return false }); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Close(), w.End(record.End{})); err != nil {
		t.Fatal(err)
	}
}

func discard(record.Type, any) error { return nil }

// loadOnly adds all records to a restart.
func loadOnly(t testing.TB, s *saved, r *Restorer) {
	t.Helper()
	s.each(t, func(rec *stream.Record, _ io.Reader) error { return addRec(t, r, rec) })
}

// load adds all records to a restart, makes all and fills it.
func load(t testing.TB, s *saved, r *Restorer) {
	t.Helper()
	made := false
	s.each(t, func(rec *stream.Record, data io.Reader) error {
		if !made && (rec.Type == record.TypeFSData || rec.Type == record.TypeEnd) {
			made = true
			if err := errors.Join(r.Check()...); err != nil {
				return err
			}
			if err := r.Make(); err != nil {
				return err
			}
		}
		if rec.Type == record.TypeFSData {
			return r.Fill(decode[record.FSData](t, rec), data, rec.DataLen)
		}
		return addRec(t, r, rec)
	})
}

// each calls f with each record of a stream.
func (s *saved) each(t testing.TB, f func(*stream.Record, io.Reader) error) {
	t.Helper()
	in := stream.NewReader(bytes.NewReader(s.Bytes()))
	for {
		rec, err := in.Next()
		if err != nil {
			t.Fatal(err)
		}
		if err := f(rec, in.Data()); err != nil {
			t.Fatal(err)
		}
		if rec.Type == record.TypeEnd {
			return
		}
	}
}

// addRec adds a record, whose file system is as in a shared stream.
func addRec(t testing.TB, r *Restorer, rec *stream.Record) error {
	switch rec.Type {
	case record.TypeFilesystem:
		f := decode[record.Filesystem](t, rec)
		f.Objref = f.ID
		return r.Filesystem(f)
	case record.TypeMount:
		return r.Mount(decode[record.Mount](t, rec))
	case record.TypeFSNode:
		return r.Node(decode[record.FSNode](t, rec))
	}
	return nil
}

func decode[T any](t testing.TB, rec *stream.Record) *T {
	t.Helper()
	v := new(T)
	if err := rec.Decode(v); err != nil {
		t.Fatal(err)
	}
	return v
}

// trusting is a restart of an image whose processes are all root's, on the boot on which it
// was taken.
func trusting(t testing.TB) *Restorer {
	return &Restorer{SameBoot: true, Owns: func(_, _ uint32) bool { return true },
		Note: func(f string, a ...any) { t.Logf("note: "+f, a...) }}
}

// restore makes what was saved.
func restore(t testing.TB, s *saved, r *Restorer) *Restorer {
	t.Helper()
	if len(s.blocked) > 0 {
		t.Fatalf("it can't be saved: %q", s.blocked)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	load(t, s, r)
	if err := r.Finish(); err != nil {
		t.Fatal(err)
	}
	return r
}

// runIn runs a script in a restored namespace.
func runIn(t testing.TB, n *Namespace, script string) string {
	t.Helper()
	cmd := exec.Command("nsenter", "--mount=/proc/self/fd/3", "/bin/bash", "-ec", script)
	cmd.ExtraFiles = []*os.File{n.File}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return string(out)
}

// tableText is a table of mounts without what no two namespaces have alike: numbers.
func tableText(t testing.TB, text string, ignore ...string) string {
	t.Helper()
	all, err := proc.ParseMounts([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	list := parentsFirst(all)
	if _, err := arrange(list); err != nil {
		t.Fatal(err)
	}
	groups := map[int]int{}
	number := func(g int) int {
		if g != 0 && groups[g] == 0 {
			groups[g] = len(groups) + 1
		}
		return groups[g]
	}
	slices.SortStableFunc(list, func(a, b *mount) int { return strings.Compare(a.way(), b.way()) })
	var b strings.Builder
	for _, m := range list {
		var options []string
		for _, o := range m.src.Options {
			o = strings.ReplaceAll(o, "lowerdir+=", "lowerdir=")
			if lowers, is := strings.CutPrefix(o, "lowerdir="); is && strings.Contains(lowers, ":") {
				for i, l := range strings.Split(lowers, ":") { // given as one, shown as several
					options = append(options, fmt.Sprintf("lower %d %s", i, l))
				}
				continue
			} else if is {
				o = fmt.Sprintf("lower %d %s", len(slices.DeleteFunc(slices.Clone(options), func(o string) bool { return !strings.HasPrefix(o, "lower ") })), lowers)
			}
			if !slices.ContainsFunc(ignore, func(s string) bool { return strings.HasPrefix(o, s) }) {
				options = append(options, o)
			}
		}
		slices.Sort(options)
		fmt.Fprintf(&b, "%s: %s%v of %s %q %v shared %d master %d unbindable %v\n", m.way(), m.Root, m.src.Flags, m.src.FSType, m.src.Source,
			options, number(m.Shared), number(m.Master), m.Unbindable)
	}
	return b.String()
}

// way is the place of a mount with all that it is on.
func (m *mount) way() string {
	if m.parent == nil {
		return ""
	}
	return m.parent.way() + " > " + m.rel
}

func mountinfo(t testing.TB, pid int) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// treeText tells all of the files below a folder.
func treeText(t testing.TB, root string) string {
	t.Helper()
	var b strings.Builder
	links := map[uint64]int{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s %o %d:%d rdev %x size %d mtime %d links %d", strings.TrimPrefix(p, root), st.Mode, st.Uid, st.Gid, st.Rdev,
			st.Size, st.Mtim.Nano(), st.Nlink)
		if !d.IsDir() {
			if links[st.Ino] == 0 {
				links[st.Ino] = len(links) + 1
			}
			fmt.Fprintf(&b, " file %d blocks %d atime %d", links[st.Ino], st.Blocks, st.Atim.Nano())
		}
		names := make([]byte, 4096)
		if n, err := unix.Llistxattr(p, names); err == nil {
			list := strings.Split(strings.Trim(string(names[:n]), "\x00"), "\x00")
			slices.Sort(list)
			for _, name := range list {
				v := make([]byte, 4096)
				if n, err := unix.Lgetxattr(p, name, v); err == nil {
					fmt.Fprintf(&b, " %s=%x", name, v[:n])
				}
			}
		}
		switch d.Type() {
		case 0:
			f, err := os.OpenFile(p, os.O_RDONLY|unix.O_NOATIME, 0)
			if err != nil {
				return err
			}
			h := sha256.New()
			_, err = io.Copy(h, f)
			fmt.Fprintf(&b, " %x", h.Sum(nil))
			if err := errors.Join(err, f.Close()); err != nil {
				return err
			}
		case fs.ModeSymlink:
			to, err := os.Readlink(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&b, " -> %s", to)
		}
		b.WriteString("\n")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}
