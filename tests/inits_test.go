package tests

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestInits saves programs that are the init of a pid namespace.
func TestInits(t *testing.T) {
	for _, name := range []string{"pid_namespace", "init_thief", "carried", "clone_shared", "fd_owner_tree", "fork_tree", "memfd_shared_tree", "posix_timers", "pty_session",
		"robust_shared", "sessions", "signals", "socketpair_creds", "subreaper", "tcp_pair", "threads", "unix_connected", "unix_listen", "uring", "waits_children", "zombies"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			(&feature{t: t, args: []string{buildC(t, "c/"+name+".c")}, apart: unix.CLONE_NEWPID}).runApart()
		})
	}
	for _, name := range []string{"first_ended", "first_ended_tables", "first_ended_mounts"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const all = unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET
			(&feature{t: t, args: []string{buildC(t, "c/"+name+".c")}, apart: all}).runApart()
		})
	}
	for _, name := range []string{"netns_sockets", "netns_links", "netns_routes", "netns_sysctls"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			(&feature{t: t, args: []string{buildC(t, "c/"+name+".c")}, apart: unix.CLONE_NEWPID | unix.CLONE_NEWNET}).runApart()
		})
	}
	t.Run("uts_namespace", func(t *testing.T) {
		t.Parallel()
		before, err := os.Hostname()
		if err != nil {
			t.Fatal(err)
		}
		(&feature{t: t, args: []string{buildC(t, "c/uts_namespace.c")}, apart: unix.CLONE_NEWPID | unix.CLONE_NEWUTS}).runApart()
		if after, err := os.Hostname(); after != before || err != nil {
			t.Errorf("this host was %q and is %q now, %v", before, after, err)
		}
	})
}

// runApart is run for a program that is started in namespaces of its own.
func (f *feature) runApart() {
	f.t.Helper()
	f.start()
	f.save("killed")
	if err := os.WriteFile(filepath.Join(f.dir, "saved"), nil, 0o600); err != nil { // see init_thief.c
		f.t.Fatal(err)
	}
	pidFile := filepath.Join(f.dir, "pid")
	apply := f.restore("--pidfile " + pidFile)
	for i := 0; !f.ended(apply); i++ {
		if b, err := os.ReadFile(pidFile); err == nil {
			if f.pid, err = strconv.Atoi(strings.TrimSpace(string(b))); err != nil {
				f.t.Fatal(err)
			}
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	f.proceed()
	f.judge(apply)
}

// TestKillInitFilter kills each filter, and the collector inside of the target's pid namespace,
// at random moments. The target is the init of that.
func TestKillInitFilter(t *testing.T) {
	t.Parallel()
	want := expected(t)
	for victim, name := range []string{"collect", "dedup", "write", "inside"} {
		for _, leave := range []string{"running", "killed"} {
			t.Run(name+"/leave-"+leave, func(t *testing.T) { killFilter(t, victim, leave, want, unix.CLONE_NEWPID|unix.CLONE_NEWIPC) })
		}
	}
}

// TestKillInitReader kills ckpt-apply, the one that works inside of the pid namespace, and the
// root, at random moments: no process, and so no namespace, is left.
func TestKillInitReader(t *testing.T) {
	t.Parallel()
	_, img := savedWorker(t, unix.CLONE_NEWPID|unix.CLONE_NEWIPC)
	killApart(t, img, "ckpt-apply --files append", true)
}
