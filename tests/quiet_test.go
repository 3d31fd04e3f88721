package tests

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// quietPrograms wait for a line and answer it.
var quietPrograms = []struct{ name, line, ask, answer string }{
	{"cat", "cat", "42", "42"},
	{"sed", "sed -u s/6x7/42/", "6x7", "42"},
	{"bc", "bc -q", "6*7", "42"},
	{"awk", "mawk -W interactive '{ print $1 * 7; fflush() }'", "6", "42"},
	{"bash", "bash", "echo $((6*7))", "42"},
	{"bash-jobs", "sleep 1000 & sleep 1000 | cat & read a; kill %1 %2; wait 2>/dev/null; echo $((a*7))", "6", "42"},
	{"python", `python3 -uc "while True: print(eval(input()))"`, "6*7", "42"},
	{"python-threads", `python3 -uc "
import threading, socket, select, mmap, tempfile
a, b = socket.socketpair()
e = select.epoll(); e.register(a)
m = mmap.mmap(-1, 1 << 20)
f = tempfile.TemporaryFile(); f.write(b'kept'); f.flush()
for i in range(3): threading.Thread(target=threading.Event().wait, daemon=True).start()
while True: print(eval(input()), flush=True)"`, "(b.send(b'x'), a.recv(1), f.seek(0), f.read(), 6*7)", "(1, b'x', 0, b'kept', 42)"},
	{"perl", `perl -ne '$| = 1; print eval($_), "\n"'`, "6*7", "42"},
	{"node", `node -e "require('readline').createInterface({input: process.stdin}).on('line', l => console.log(eval(l)))"`, "6*7", "42"},
	{"sqlite3", "sqlite3 data", "begin; create table t(x); insert into t values(6); select x*7 from t;", "42"},
}

// TestQuiet saves, kills and restores Debian's programs while they wait: /proc shows
// the same of them before and after, and they answer.
func TestQuiet(t *testing.T) {
	for _, p := range quietPrograms {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := unix.Mkfifo(filepath.Join(dir, "in"), 0o600); err != nil {
				t.Fatal(err)
			}
			// Input of its own, whose other end nobody outside has.
			f := &feature{t: t, dir: dir, args: []string{"/bin/bash", "-c", "echo ready; exec <>in; " + p.line}, goes: "in"}
			f.start()
			before := quietSnapshot(f.pid)
			f.save("killed")
			apply := f.restore()
			before.compare(t, takeSnapshot(f.pid))
			in, err := os.OpenFile(filepath.Join(dir, "in"), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			fmt.Fprintln(in, p.ask)
			for i := 0; f.output() != "ready\n"+p.answer+"\n"; i++ {
				if i > 2000 {
					t.Fatalf("it says:\n%s", f.output())
				}
				time.Sleep(5 * time.Millisecond)
			}
			_ = unix.Kill(f.pid, unix.SIGKILL)
			if apply.wait(); strings.Contains(apply.said(), "error") {
				t.Error(apply.said())
			}
		})
	}
}

// quietSnapshot waits until a program has begun, and then does nothing for a while.
func quietSnapshot(pid int) snapshot {
	last, end := takeSnapshot(pid), time.Now().Add(time.Minute)
	for still := 0; still < 10 && time.Now().Before(end); still++ {
		time.Sleep(100 * time.Millisecond)
		now := takeSnapshot(pid)
		if fmt.Sprint(now) != fmt.Sprint(last) {
			still = 0
		}
		last = now
	}
	return last
}
