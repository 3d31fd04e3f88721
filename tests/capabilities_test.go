package tests

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// another is a user other than nobody.
const another = 1234

// right is a row of CAPABILITIES in a manual page. The page lists for each row but
// the first what it needs in addition to the first.
type right struct {
	use     string   // the page's text
	takes   []string // all that it needs, without CAP_; CAP_SYS_ADMIN includes CAP_CHECKPOINT_RESTORE
	kind    string   // of testdata/rights.c
	user    int
	options string  // of the program
	shell   string  // put before the command
	apart   uintptr // see feature
}

var savingTakes = []right{
	{use: "a process of one's own", kind: "plain", user: nobody},
	{use: "with shared anonymous memory or System V segments", takes: []string{"CHECKPOINT_RESTORE"}, kind: "shared", user: nobody},
	{use: "of another user", takes: []string{"SYS_PTRACE", "DAC_READ_SEARCH"}, kind: "plain", user: another},
	{use: "of another user, to be stopped or killed", takes: []string{"SYS_PTRACE", "DAC_READ_SEARCH", "KILL"},
		kind: "plain", user: another, options: "--leave stopped"},
	{use: "not dumpable", takes: []string{"SYS_PTRACE", "DAC_READ_SEARCH"}, kind: "undumpable", user: nobody},
	{use: "with capabilities of its own", takes: []string{"SYS_PTRACE"}, kind: "capability", user: nobody},
	{use: "confined by seccomp", takes: []string{"SYS_ADMIN"}, kind: "seccomp", user: nobody},
	{use: "that is the init of another pid namespace", takes: []string{"SYS_ADMIN", "SYS_PTRACE"}, kind: "plain", user: nobody, apart: unix.CLONE_NEWPID},
	{use: "in another mount namespace", takes: []string{"SYS_ADMIN", "SYS_CHROOT"}, kind: "plain", user: nobody, apart: unix.CLONE_NEWNS},
	{use: "that has a network namespace to itself, too", takes: []string{"SYS_ADMIN", "SYS_PTRACE", "NET_ADMIN", "DAC_READ_SEARCH"}, kind: "plain", user: nobody, apart: unix.CLONE_NEWPID | unix.CLONE_NEWNET},
}

var restoringTakes = []right{
	{use: "a process of one's own, under its id", takes: []string{"CHECKPOINT_RESTORE"}, kind: "plain", user: nobody},
	{use: "of another user", takes: []string{"CHECKPOINT_RESTORE", "SETUID", "SETGID", "SYS_PTRACE", "KILL"}, kind: "plain", user: another},
	{use: "with other supplementary groups", takes: []string{"CHECKPOINT_RESTORE", "SETGID"}, kind: "groups", user: nobody},
	{use: "with capabilities of its own", takes: []string{"CHECKPOINT_RESTORE", "NET_RAW"}, kind: "capability", user: nobody},
	{use: "with inheritable capabilities", takes: []string{"CHECKPOINT_RESTORE", "SETPCAP"}, kind: "inheritable", user: nobody},
	{use: "with a smaller bounding set", takes: []string{"CHECKPOINT_RESTORE", "SETPCAP"}, kind: "bounding", user: nobody},
	{use: "with other securebits", takes: []string{"CHECKPOINT_RESTORE", "SETPCAP"}, kind: "securebits", user: nobody},
	{use: "not dumpable", takes: []string{"CHECKPOINT_RESTORE", "SYS_PTRACE"}, kind: "undumpable", user: nobody},
	{use: "confined by seccomp", takes: []string{"SYS_ADMIN"}, kind: "seccomp", user: nobody},
	{use: "with another root folder", takes: []string{"CHECKPOINT_RESTORE", "SYS_CHROOT"}, kind: "root folder", user: nobody},
	{use: "with a lower nice value", takes: []string{"CHECKPOINT_RESTORE", "SYS_NICE"}, kind: "nice", user: nobody},
	{use: "under real-time scheduling", takes: []string{"CHECKPOINT_RESTORE", "SYS_NICE"}, kind: "realtime", user: nobody},
	{use: "with real-time I/O priority", takes: []string{"CHECKPOINT_RESTORE", "SYS_NICE"}, kind: "io", user: nobody},
	{use: "with more locked memory than RLIMIT_MEMLOCK", takes: []string{"CHECKPOINT_RESTORE", "IPC_LOCK"}, kind: "locked", user: nobody, shell: "ulimit -S -l 64; "},
	{use: "with large socket buffers", takes: []string{"CHECKPOINT_RESTORE", "NET_ADMIN"}, kind: "buffer", user: nobody},
	{use: "with SO_MARK, SO_PRIORITY, SO_DEBUG or IP_TRANSPARENT", takes: []string{"CHECKPOINT_RESTORE", "NET_ADMIN"}, kind: "mark", user: nobody},
	{use: "with SO_MARK, SO_PRIORITY, SO_DEBUG or IP_TRANSPARENT", takes: []string{"CHECKPOINT_RESTORE", "NET_ADMIN"}, kind: "debug", user: nobody},
	{use: "with SO_MARK, SO_PRIORITY, SO_DEBUG or IP_TRANSPARENT", takes: []string{"CHECKPOINT_RESTORE", "NET_ADMIN"}, kind: "transparent", user: nobody},
	{use: "with ports below net.ipv4.ip_unprivileged_port_start", takes: []string{"CHECKPOINT_RESTORE", "NET_BIND_SERVICE"}, kind: "port", user: nobody},
	{use: "with raw sockets", takes: []string{"CHECKPOINT_RESTORE", "NET_RAW"}, kind: "raw", user: nobody},
	{use: "with deleted files of another user", takes: []string{"CHECKPOINT_RESTORE", "CHOWN", "DAC_OVERRIDE", "FOWNER"}, kind: "deleted", user: nobody},
	{use: "with files that the user may not read", takes: []string{"CHECKPOINT_RESTORE", "DAC_READ_SEARCH"}, kind: "read", user: nobody},
	{use: "with files that the user may not write", takes: []string{"CHECKPOINT_RESTORE", "DAC_OVERRIDE"}, kind: "write", user: nobody},
	{use: "with signals of descriptors by the rights of another user", takes: []string{"CHECKPOINT_RESTORE", "SETUID"}, kind: "signals", user: nobody},
	{use: "with a unix socket whose address is a path from the root", takes: []string{"CHECKPOINT_RESTORE", "SYS_CHROOT"}, kind: "socket", user: nobody},
	{use: "that was the init of a pid namespace", takes: []string{"SYS_ADMIN"}, kind: "plain", user: nobody, apart: unix.CLONE_NEWPID},
	{use: "that was in a mount namespace of its own", takes: []string{"SYS_ADMIN", "SYS_CHROOT"}, kind: "plain", user: nobody, apart: unix.CLONE_NEWNS},
	{use: "that had a network namespace to itself", takes: []string{"SYS_ADMIN", "NET_ADMIN"}, kind: "plain", user: nobody, apart: unix.CLONE_NEWPID | unix.CLONE_NEWNET},
	{use: "with clocks that go on", takes: []string{"SYS_ADMIN", "SYS_TIME"}, kind: "plain", user: nobody, options: "--clock keep"},
}

// bearer is a program of rights.c and the folder it runs in.
type bearer struct {
	*feature
	r *right
}

func newBearer(t *testing.T, r *right) *bearer {
	b := &bearer{&feature{t: t, dir: t.TempDir(), apart: r.apart}, r}
	for d := b.dir; d != "/" && d != os.TempDir(); d = filepath.Dir(d) { // everybody may enter it
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(b.dir, 0o777); err != nil { // for deleted files
		t.Fatal(err)
	}
	b.args = []string{buildC(t, "rights.c"), r.kind, fmt.Sprint(r.user)}
	b.start()
	if out := b.output(); out != "ready\n" {
		t.Fatalf("%s says:\n%s", r.kind, out)
	}
	return b
}

// having runs a shell line as user nobody with exactly these capabilities.
func (b *bearer) having(takes []string, line string) (status int, said string) {
	b.t.Helper()
	set := "-all"
	for _, c := range takes {
		set += ",+" + strings.ToLower(c)
	}
	cmd := exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps="+set, "--ambient-caps="+set,
		"bash", "-c", b.r.shell+line)
	cmd.Dir = b.dir
	out, _ := cmd.CombinedOutput()
	return cmd.ProcessState.ExitCode(), string(out)
}

// without calls f with each of the capabilities missing.
func (b *bearer) without(f func(rest []string, says string)) {
	for i, c := range b.r.takes {
		rest := slices.Delete(slices.Clone(b.r.takes), i, i+1)
		if c == "SYS_ADMIN" {
			rest = append(rest, "CHECKPOINT_RESTORE")
		}
		f(rest, "CAP_"+c+" is missing, which is needed to ")
	}
}

// TestCapabilities: each row of the manual pages works with exactly these
// capabilities; without any one of them it is refused for that, in a sentence, before
// anything is done.
func TestCapabilities(t *testing.T) {
	for _, r := range savingTakes {
		t.Run("save "+r.use, func(t *testing.T) {
			t.Parallel()
			b := newBearer(t, &r)
			b.without(b.notSaved)
			b.saved()
		})
	}
	for _, r := range restoringTakes {
		t.Run("restore "+r.use+" "+r.kind, func(t *testing.T) {
			t.Parallel()
			r.options += " --pids keep"
			b := newBearer(t, &r)
			b.save("killed")
			b.without(b.notRestored)
			b.restored()
		})
	}
}

func (b *bearer) notSaved(rest []string, says string) {
	b.t.Helper()
	for _, line := range []string{"ckpt-collect --dry-run %s %d", "ckpt-collect %s %d | cat >/dev/null; exit ${PIPESTATUS[0]}"} {
		status, said := b.having(rest, fmt.Sprintf(line, b.r.options, b.pid))
		if status != 3 || !strings.Contains(said, says) || strings.Count(said, "error: ") != 1 {
			b.t.Errorf("with %v, status %d:\n%s", rest, status, said)
		}
	}
	if err := unharmed(b.pid); err != nil {
		b.t.Error(err)
	}
}

func (b *bearer) saved() {
	b.t.Helper()
	status, said := b.having(b.r.takes, fmt.Sprintf("ckpt-collect --dry-run %s %d", b.r.options, b.pid))
	if status != 0 {
		b.t.Errorf("dry run: status %d:\n%s", status, said)
	}
	status, said = b.having(b.r.takes, fmt.Sprintf("set -o pipefail; ckpt-collect %s %d | ckpt-dedup | ckpt-write >/dev/null", b.r.options, b.pid))
	if status != 0 {
		b.t.Errorf("status %d:\n%s", status, said)
	}
	_ = unix.Kill(b.pid, unix.SIGCONT)
	if err := unharmed(b.pid); err != nil {
		b.t.Error(err)
	}
}

func (b *bearer) notRestored(rest []string, says string) {
	b.t.Helper()
	for _, check := range []string{"--check", "--detach"} {
		status, said := b.having(rest, fmt.Sprintf("ckpt-read <img | ckpt-apply %s %s", check, b.r.options))
		if status != 125 || !strings.Contains(said, says) || strings.Count(said, "error: ") != 1 {
			b.t.Errorf("%s with %v, status %d:\n%s", check, rest, status, said)
		}
		if !gone(b.pid) {
			b.t.Fatalf("%s with %v: pid %d is there", check, rest, b.pid)
		}
	}
}

func (b *bearer) restored() {
	b.t.Helper()
	for _, check := range []string{"--check", "--detach"} {
		status, said := b.having(b.r.takes, fmt.Sprintf("ckpt-read <img | ckpt-apply --pidfile pid %s %s", check, b.r.options))
		if status != 0 {
			b.t.Errorf("%s: status %d:\n%s", check, status, said)
		}
	}
	b.pid = int(b.number("pid")) // another one outside, if it is an init
	if err := unharmed(b.pid); err != nil {
		b.t.Error(err)
	}
	_ = unix.Kill(b.pid, unix.SIGKILL)
	for begin := time.Now(); !gone(b.pid); time.Sleep(time.Millisecond) {
		if time.Since(begin) > time.Minute {
			b.t.Fatalf("pid %d does not end", b.pid)
		}
	}
}

// TestCapabilitiesPages compares the lists in the manual pages with these.
func TestCapabilitiesPages(t *testing.T) {
	for page, rows := range map[string][]right{"ckpt-collect.1.md": savingTakes, "ckpt-apply.1.md": restoringTakes} {
		_, text, ok := strings.Cut(readText(t, "../man/"+page), "# CAPABILITIES\n")
		if !ok {
			t.Fatalf("%s has no part CAPABILITIES", page)
		}
		text, _, _ = strings.Cut(text, "\n# ")
		said := map[string][]string{}
		for _, m := range regexp.MustCompile(`(?m)^\*\*(.+?)\*\*\n: (.+)$`).FindAllStringSubmatch(text, -1) {
			said[m[1]] = regexp.MustCompile(`CAP_[A-Z_]+`).FindAllString(m[2], -1)
		}
		tested := map[string]bool{}
		for i, r := range rows {
			var want []string
			for _, c := range r.takes {
				if i == 0 || !slices.Contains(rows[0].takes, c) { // which the first row lists
					want = append(want, "CAP_"+c)
				}
			}
			if !slices.Equal(said[r.use], want) {
				t.Errorf("%s: %s takes %v, the page says %v", page, r.use, want, said[r.use])
			}
			tested[r.use] = true
		}
		for use := range said {
			if !tested[use] {
				t.Errorf("%s: no test has %q", page, use)
			}
		}
	}
}

// TestFileCapabilities saves and restores a process of user nobody by programs
// that have their capability from their files; a process without it may not look into
// them.
func TestFileCapabilities(t *testing.T) {
	t.Parallel()
	b := newBearer(t, &right{kind: "plain", user: nobody})
	bin := filepath.Join(b.dir, "bin")
	for _, name := range []string{"ckpt-collect", "ckpt-dedup", "ckpt-write", "ckpt-read", "ckpt-apply"} {
		line := fmt.Sprintf("mkdir -p %s && cp %s/%s %[1]s/ && setcap cap_checkpoint_restore+ep %[1]s/%[3]s", bin, binDir, name)
		if name == "ckpt-read" {
			line, _, _ = strings.Cut(line, " && setcap")
		}
		b.shell(line)
	}
	b.r.shell = "set -o pipefail; PATH=" + bin + ":$PATH; "
	status, said := b.having(nil, fmt.Sprintf("ckpt-collect --leave killed %d | ckpt-dedup | ckpt-write -o img", b.pid))
	if status != 0 {
		t.Fatalf("status %d:\n%s", status, said)
	}
	for begin := time.Now(); !gone(b.pid); time.Sleep(time.Millisecond) {
		if time.Since(begin) > time.Minute {
			t.Fatalf("pid %d was not killed", b.pid)
		}
	}
	b.restored()
	cmd := exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", filepath.Join(bin, "ckpt-apply"))
	hangs, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = hangs.Close(); _ = cmd.Wait() }()
	line := fmt.Sprintf("until test $(stat -c %%u /proc/%d) = 65534 && grep -q ckpt-apply /proc/%[1]d/comm; do sleep 0.01; done; "+
		"ls -l /proc/%[1]d/fd; cat /proc/%[1]d/mem; cat /proc/%[1]d/environ", cmd.Process.Pid)
	if status, said = b.having(nil, "timeout 60 bash -c '"+line+"'"); status == 0 ||
		!strings.Contains(said, "/mem: Permission denied") || !strings.Contains(said, "/environ: Permission denied") || !strings.Contains(said, "/fd/0': Permission denied") {
		t.Errorf("status %d:\n%s", status, said)
	}
}

// TestOwnNamespace restores for a user without any capability, in a pid
// namespace where the ids are free.
func TestOwnNamespace(t *testing.T) {
	t.Parallel()
	b := newBearer(t, &right{kind: "plain", user: nobody})
	b.save("killed")
	status, said := b.having(nil, "ckpt-read <img | ckpt-apply --pids keep --check")
	if status != 125 || !strings.Contains(said, "ckpt-apply --pids namespace") {
		t.Errorf("status %d:\n%s", status, said)
	}
	if status, said = b.having(nil, "ckpt-read <img | ckpt-apply --check"); status != 0 {
		t.Errorf("status %d:\n%s", status, said)
	}
	const unshare = "unshare --user --map-current-user --keep-caps --pid --fork --mount-proc "
	if status, said = b.having(nil, "ckpt-read <img | "+unshare+"ckpt-apply --check"); status != 0 {
		t.Errorf("status %d:\n%s", status, said)
	}
	line := fmt.Sprintf(`ckpt-apply --detach <shared && grep -q test-rights /proc/%d/comm && grep '^Uid:.65534.65534.65534.65534$' /proc/%[1]d/status && kill %[1]d`, b.pid)
	if status, said = b.having(nil, "ckpt-read <img >shared && "+unshare+"bash -c '"+line+"'"); status != 0 {
		t.Errorf("status %d:\n%s", status, said)
	}
}

// TestOutOfReach has a program of user nobody write to a file in a folder that
// only root may enter: it is not taken for a deleted one.
func TestOutOfReach(t *testing.T) {
	t.Parallel()
	b := newBearer(t, &right{kind: "plain", user: nobody})
	if err := os.Mkdir(filepath.Join(b.dir, "roots"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(b.dir, "out"), filepath.Join(b.dir, "roots", "out")); err != nil {
		t.Fatal(err)
	}
	takes := []string{"CHECKPOINT_RESTORE"}
	status, said := b.having(takes, fmt.Sprintf("ckpt-collect --dry-run %d", b.pid))
	if status != 3 || strings.Count(said, "/roots/out, where this user may not look: that takes CAP_DAC_READ_SEARCH") != 2 || strings.Count(said, "error: ") != 2 {
		t.Errorf("status %d:\n%s", status, said)
	}
	if status, said = b.having(append(takes, "DAC_READ_SEARCH"), fmt.Sprintf("ckpt-collect --dry-run %d", b.pid)); status != 0 {
		t.Errorf("status %d:\n%s", status, said)
	}
}

// TestHandedDown: a file that was opened by a more privileged process is named when
// the program is saved, with a flag that makes the restore work.
func TestHandedDown(t *testing.T) {
	t.Parallel()
	b := newBearer(t, &right{kind: "plain", user: nobody})
	out := filepath.Join(b.dir, "out")
	if err := errors.Join(os.Chown(out, 0, 0), os.Chmod(out, 0o600)); err != nil {
		t.Fatal(err)
	}
	takes := []string{"CHECKPOINT_RESTORE"}
	status, said := b.having(takes, fmt.Sprintf("set -o pipefail; ckpt-collect --leave killed %d | ckpt-dedup | ckpt-write -o img", b.pid))
	with := fmt.Sprintf("--end '%s=null'", out)
	if status != 0 || !strings.Contains(said, "out, which this user may not open again; restore it as a user who may, or with: "+with) {
		t.Fatalf("status %d:\n%s", status, said)
	}
	if status, said = b.having(takes, "ckpt-read < img | ckpt-apply --check"); status != 125 || !strings.Contains(said, "CAP_DAC_OVERRIDE") {
		t.Errorf("status %d:\n%s", status, said)
	}
	if status, said = b.having(takes, "ckpt-read < img | ckpt-apply --check "+with); status != 0 {
		t.Errorf("status %d:\n%s", status, said)
	}
}

// TestKilledByLesser: a user who may save and kill a process, but not restore it,
// does not kill it, and is told that it lives on.
func TestKilledByLesser(t *testing.T) {
	t.Parallel()
	b := newBearer(t, &right{kind: "plain", user: another})
	takes := []string{"CHECKPOINT_RESTORE", "SYS_PTRACE", "DAC_READ_SEARCH", "KILL"}
	const lacks = "this user could not restore it: CAP_SETUID is missing, which is needed to set the user ids of pid %d (test-rights)"
	for _, c := range []struct {
		line   string
		status int
	}{
		{"ckpt-collect --dry-run --leave killed %d", 3},
		{"ckpt-collect --leave killed %d | ckpt-dedup >shared; exit ${PIPESTATUS[1]}", 3},
		{"ckpt-collect --dry-run %d", 0},
		{"set -o pipefail; ckpt-collect %d | ckpt-dedup | ckpt-write -o img", 0},
	} {
		status, said := b.having(takes, fmt.Sprintf(c.line, b.pid))
		word := map[int]string{0: "note: ", 3: "error: "}[c.status]
		if status != c.status || !strings.Contains(said, word+fmt.Sprintf(lacks, b.pid)) {
			t.Errorf("%s: status %d:\n%s", c.line, status, said)
		}
		if err := unharmed(b.pid); err != nil {
			t.Error(err)
		}
	}
}

// TestKilledByLimited is the same for hard limits above those of the saving user.
func TestKilledByLimited(t *testing.T) {
	t.Parallel()
	b := newBearer(t, &right{kind: "plain", user: nobody})
	status, said := b.having([]string{"CHECKPOINT_RESTORE"}, fmt.Sprintf("ulimit -x 100; ckpt-collect --leave killed %d | ckpt-dedup >shared; exit ${PIPESTATUS[1]}", b.pid))
	if want := fmt.Sprintf("error: this user could not restore it: pid %d had a hard limit RLIMIT_LOCKS of unlimited", b.pid); status != 3 || !strings.Contains(said, want) {
		t.Errorf("status %d:\n%s", status, said)
	}
	if err := unharmed(b.pid); err != nil {
		t.Error(err)
	}
}
