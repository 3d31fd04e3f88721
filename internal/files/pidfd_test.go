package files

import (
	"errors"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/internal/testkit"
	"ckpt/stream"
	"ckpt/stream/record"
)

func pidfdRecord(t *testing.T, rec *record.PidFD) *stream.Record {
	t.Helper()
	rec.Objref = 1
	return testkit.Must(stream.New(record.TypePidFD, rec))(t)
}

func TestCheckPidFD(t *testing.T) {
	r := fuzzed(t, true) // of pid 7
	for _, c := range []struct {
		rec  record.PidFD
		good bool
	}{
		{record.PidFD{PID: 7}, true},
		{record.PidFD{PID: 8}, false},
		{record.PidFD{PID: 8, StartTime: 5}, true},
		{record.PidFD{}, true},
		{record.PidFD{Status: 3 << 8}, true},
		{record.PidFD{Status: int(unix.SIGTERM) | 0x80}, true},
		{record.PidFD{Status: int(unix.SIGCHLD)}, false},
		{record.PidFD{Status: 0x137f}, false}, // stopped
		{record.PidFD{Status: 1 << 16}, false},
		{record.PidFD{Status: -1}, false},
		{record.PidFD{StartTime: 5}, false},
		{record.PidFD{PID: -1}, false},
		{record.PidFD{PID: maxPID + 1, StartTime: 5}, false},
	} {
		if errs := r.checkPidFD(pidfdRecord(t, &c.rec)); (len(errs) == 0) != c.good || !c.good && !errors.Is(errs[0], stream.ErrCorrupt) {
			t.Errorf("%+v: %v", c.rec, errs)
		}
	}
}

// TestOutsidePidFD: a process that is not in the image is the same only with the same
// start time and on the same boot; else a note says that it is seen as ended.
func TestOutsidePidFD(t *testing.T) {
	stat := testkit.Must(proc.ReadStat(os.Getpid()))(t)
	for _, c := range []struct {
		start    uint64
		sameBoot bool
		notes    int
	}{{stat.StartTime, true, 0}, {stat.StartTime + 1, true, 1}, {stat.StartTime, false, 1}} {
		r, notes := fuzzed(t, false), 0
		r.SameBoot, r.Note = c.sameBoot, func(string, ...any) { notes++ }
		rec := &record.PidFD{PID: os.Getpid(), StartTime: c.start}
		if errs := r.checkPidFD(pidfdRecord(t, rec)); len(errs) > 0 || notes != c.notes || r.stillThere(rec) != (c.notes == 0) {
			t.Errorf("%+v: %v, %d notes", c, errs, notes)
		}
	}
}

// TestEndedPidFD: pidfds of a process that was waited for tell that it has ended, and
// how, and the same of all of them.
func TestEndedPidFD(t *testing.T) {
	runtime.LockOSThread() // which traces
	defer runtime.UnlockOSThread()
	for _, status := range []unix.WaitStatus{0, 3 << 8, unix.WaitStatus(unix.SIGTERM), unix.WaitStatus(unix.SIGSEGV)} {
		r := fuzzed(t, false)
		obj := testkit.Must(r.makePidFD(pidfdRecord(t, &record.PidFD{Status: int(status)})))(t)
		if obj.Late() != 0 {
			t.Error("it waits for a task")
		}
		a, b := testkit.Must(obj.Open(unix.O_RDWR))(t), testkit.Must(obj.Open(unix.O_RDWR|unix.O_NONBLOCK))(t)
		testkit.Check(t, obj.Complete())
		testkit.Check(t, obj.Close())
		for _, f := range []*os.File{a, b} {
			info := testkit.Must(proc.ReadFDInfo(os.Getpid(), int(f.Fd())))(t)
			if pid := testkit.Must(info.PidFD())(t); pid != -1 {
				t.Errorf("it stands for pid %d", pid)
			}
			if got := sys.EndedStatus(int(f.Fd())); got != int(status) {
				t.Errorf("status %#x, want %#x", got, status)
			}
			p := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLIN}}
			if testkit.Check(t, pollNow(p)); p[0].Revents&unix.POLLIN == 0 {
				t.Errorf("it is not readable: %#x", p[0].Revents)
			}
			f.Close()
		}
	}
}

// TestClosedPidFD: no process is left if a restore ends before its pidfds are complete.
func TestClosedPidFD(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r := fuzzed(t, false)
	obj := testkit.Must(r.makePidFD(pidfdRecord(t, &record.PidFD{})))(t)
	pid := obj.(*pidfd).pid
	testkit.Check(t, obj.Close())
	if err := unix.Kill(pid, 0); err != unix.ESRCH {
		t.Errorf("pid %d: %v", pid, err)
	}
}
