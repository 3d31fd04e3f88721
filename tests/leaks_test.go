package tests

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
)

// world is what tests can leave behind, in words: descriptors of this process,
// tasks, mounts, System V objects, message queues, tables of nftables, network interfaces, addresses and
// sockets, keys and files. All but the first and the keys are those of the namespaces
// and folders that the tests have for themselves.
type world struct {
	temp string // the folder for temporary files
	left []string
}

// see looks around.
func see(temp string) world {
	w := world{temp: temp}
	w.descriptors()
	w.tasks()
	w.lines("mount", "/proc/self/mountinfo", 0)
	for _, kind := range []string{"shm", "sem", "msg"} {
		w.lines("System V "+kind, "/proc/sysvipc/"+kind, 1)
	}
	w.lines("address", "/proc/net/fib_trie", 0)
	w.columns("interface", "/proc/net/dev", 2, 0)
	for _, kind := range []string{"tcp", "tcp6"} {
		w.columns(kind+" socket", "/proc/net/"+kind, 1, 1, 2, 3, 9)
	}
	w.left = slices.DeleteFunc(w.left, isOrphan)
	for _, kind := range []string{"udp", "udp6", "udplite", "raw", "raw6", "icmp"} {
		w.columns(kind+" socket", "/proc/net/"+kind, 1, 1, 2)
	}
	w.columns("netlink socket", "/proc/net/netlink", 1, 1, 2)
	w.columns("unix socket", "/proc/net/unix", 1, 7)
	w.columns("packet socket", "/proc/net/packet", 1, 3, 4)
	w.columns("key", "/proc/keys", 0, 0, 5, 7, 8)
	w.left = slices.DeleteFunc(w.left, isSessionKeyring)
	out, _ := exec.Command("nft", "list", "tables").Output()
	for line := range strings.Lines(string(out)) {
		w.add("packet filter: %s", strings.TrimSpace(line))
	}
	for _, dir := range []string{temp, "/dev/shm", "/dev/mqueue"} {
		names, _ := filepath.Glob(filepath.Join(dir, "*"))
		hidden, _ := filepath.Glob(filepath.Join(dir, ".*"))
		for _, name := range append(names, hidden...) {
			w.add("file %s", name)
		}
	}
	return w
}

func (w *world) add(format string, args ...any) {
	w.left = append(w.left, fmt.Sprintf(format, args...))
}

// descriptors are those that nobody closed: what the garbage collector would close
// by and by is closed by now.
func (w *world) descriptors() {
	runtime.GC()
	runtime.GC() // files are closed after the first
	fds, _ := proc.FDs(os.Getpid())
	for _, fd := range fds {
		link, err := proc.FDLink(os.Getpid(), fd)
		if err == nil && !strings.HasPrefix(link, "anon_inode:[event") && link != fmt.Sprintf("/proc/%d/fd", os.Getpid()) { // of Go's runtime, and of this look
			w.add("descriptor %d: %s", fd, link)
		}
	}
}

// tasks are all processes but the tests and the init of their namespaces.
func (w *world) tasks() {
	all, _ := proc.Processes()
	for _, pid := range all {
		stat, err := proc.ReadStat(pid)
		if err == nil && pid != 1 && pid != os.Getpid() {
			w.add("pid %d (%s) in state %c, child of pid %d", pid, stat.Comm, stat.State, stat.PPID)
		}
	}
}

// lines are those of a file behind the first so many.
func (w *world) lines(what, file string, skip int) {
	b, _ := os.ReadFile(file)
	for i, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		if i >= skip && line != "" {
			w.add("%s: %s", what, strings.Join(strings.Fields(line), " "))
		}
	}
}

// columns are some of the fields of the lines of a file behind the first so many.
func (w *world) columns(what, file string, skip int, fields ...int) {
	b, _ := os.ReadFile(file)
	for i, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		if i < skip {
			continue
		}
		all, some := strings.Fields(line), []string{}
		for _, n := range fields {
			if n < len(all) {
				some = append(some, all[n])
			}
		}
		if len(some) > 0 {
			w.add("%s: %s", what, strings.Join(some, " "))
		}
	}
}

// isOrphan reports whether a line is that of a TCP connection that nobody has open: the
// kernel keeps its addresses for a minute.
func isOrphan(line string) bool {
	return strings.HasPrefix(line, "tcp") && strings.HasSuffix(line, " 0")
}

// isSessionKeyring reports whether a line is that of a session's keyring: the keys are
// those of the whole system, where sessions come and go.
func isSessionKeyring(line string) bool {
	return strings.HasPrefix(line, "key: ") && strings.HasSuffix(line, " _ses:")
}

// leaks are what is there now and was not before, once it had time to end.
func (w world) leaks(patience time.Duration) (left []string) {
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		left = slices.DeleteFunc(see(w.temp).left, func(what string) bool { return slices.Contains(w.left, what) })
		if len(left) == 0 || time.Now().After(end) {
			return left
		}
	}
}

// TestLeaks: each kind of thing that tests could leave behind is seen.
func TestLeaks(t *testing.T) {
	before := see(os.TempDir())
	f, err := os.Create(filepath.Join(os.TempDir(), ".left-behind"))
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	sleep := exec.Command("sleep", "1000")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sleep.Process.Kill(); _ = sleep.Wait() }()
	mnt := t.TempDir()
	if err := unix.Mount("left", mnt, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(mnt, 0) }()
	id, err := unix.SysvShmGet(0x1ef7, 4096, unix.IPC_CREAT|0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil) }()
	shm := "/dev/shm/left-behind"
	if err := os.WriteFile(shm, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(shm)
	for _, s := range []struct{ domain, typ int }{{unix.AF_INET, unix.SOCK_STREAM}, {unix.AF_INET6, unix.SOCK_DGRAM}, {unix.AF_PACKET, unix.SOCK_RAW}} {
		fd, err := unix.Socket(s.domain, s.typ|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		addr := map[int]unix.Sockaddr{unix.AF_INET: &unix.SockaddrInet4{Port: 0x1ef7}, unix.AF_INET6: &unix.SockaddrInet6{Port: 0x1ef7},
			unix.AF_PACKET: &unix.SockaddrLinklayer{Protocol: 0xf71e}}[s.domain]
		if err := unix.Bind(fd, addr); err != nil {
			t.Fatal(err)
		}
		if s.typ == unix.SOCK_STREAM {
			if err := unix.Listen(fd, 1); err != nil {
				t.Fatal(err)
			}
		}
	}
	bound, err := net.ListenUnix("unix", &net.UnixAddr{Name: "@left-behind"})
	if err != nil {
		t.Fatal(err)
	}
	defer bound.Close()
	ip := func(args ...string) {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Errorf("ip %s: %v, %s", strings.Join(args, " "), err, out)
		}
	}
	ip("link", "add", "left-behind", "type", "veth", "peer", "name", "left-peer")
	defer ip("link", "del", "left-behind")
	ip("address", "add", "10.99.9.9/32", "dev", "left-behind")
	key, err := unix.AddKey("user", "left-behind", []byte("x"), unix.KEY_SPEC_USER_KEYRING)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = unix.KeyctlInt(unix.KEYCTL_UNLINK, key, unix.KEY_SPEC_USER_KEYRING, 0, 0) }()
	const table = "left-behind"
	if out, err := exec.Command("nft", "add", "table", "inet", table).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	defer func() { _ = exec.Command("nft", "delete", "table", "inet", table).Run() }()
	left := strings.Join(before.leaks(0), "\n")
	for _, what := range []string{
		fmt.Sprintf("descriptor %d: %s", f.Fd(), f.Name()), "file " + f.Name(), fmt.Sprintf("pid %d (sleep)", sleep.Process.Pid),
		" " + mnt + " ", fmt.Sprintf("System V shm: %d %d ", 0x1ef7, id), "file " + shm,
		"tcp socket: 00000000:1EF7", "udp6 socket: 00000000000000000000000000000000:1EF7", "packet socket: 1ef7", "unix socket: @left-behind",
		"interface: left-behind:", "address: |-- 10.99.9.9", "user left-behind:", "packet filter: table inet " + table,
	} {
		if !strings.Contains(left, what) {
			t.Errorf("%q is not seen among\n%s", what, left)
		}
	}
}
