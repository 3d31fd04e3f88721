package collect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/hold"
	"ckpt/internal/proc"
	"ckpt/internal/testkit"
	"ckpt/stream"
	"ckpt/stream/record"
)

// saver runs this filter on a process.
type saver struct {
	Options
	mu   sync.Mutex
	said string
}

func newSaver(pid int) *saver {
	s := &saver{}
	s.Options = Options{PID: pid, Leave: LeaveRunning, HoldTimeout: 20 * time.Millisecond, Timeout: time.Minute, Stall: time.Minute, Version: "test"}
	s.Note = func(format string, args ...any) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.said += fmt.Sprintf(format, args...) + "\n"
	}
	s.Step = s.Note
	s.Die = func(err error) { panic(err) }
	return s
}

func (s *saver) heard(what string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(s.said, what)
}

// records are the records of a stream, with their data.
type records struct {
	list []*stream.Record
	data map[*stream.Record][]byte
	err  error // of the reader; io.EOF if the stream is complete
}

// read reads a stream; each is called with every record.
func read(in *os.File, each func(rec *stream.Record)) *records {
	r, all := stream.NewReader(in), &records{data: map[*stream.Record][]byte{}}
	for {
		rec, err := r.Next()
		if err != nil {
			all.err = err
			return all
		}
		b, err := io.ReadAll(r.Data())
		if err != nil {
			all.err = err
			return all
		}
		all.list, all.data[rec] = append(all.list, rec), b
		each(rec)
	}
}

// of returns the records of a type.
func (r *records) of(typ record.Type) (list []*stream.Record) {
	for _, rec := range r.list {
		if rec.Type == typ {
			list = append(list, rec)
		}
	}
	return list
}

// save runs the filter into a pipe and returns what came out.
func (s *saver) save(t testing.TB, each func(rec *stream.Record)) (*records, error) {
	t.Helper()
	r, w, err := os.Pipe()
	testkit.Check(t, err)
	defer r.Close()
	got := make(chan *records)
	go func() { got <- read(r, each) }()
	err = Run(context.Background(), s.Options, w)
	w.Close()
	return <-got, err
}

func nothing(*stream.Record) {}

// copies lets a saver take a copy of the counters, which the test has mapped.
func (s *saver) copies(t testing.TB) *saver {
	s.Copy = map[string]bool{}
	for _, pid := range family(s.PID) {
		maps, _ := proc.ReadMaps(pid)
		for _, m := range maps {
			s.Copy[fmt.Sprintf("shm:[%d]", m.Inode)] = true
		}
	}
	return s
}

// TestRun: a tree becomes a complete stream, in which each process and thread has its
// records, and the pages are those of its memory; then the tree runs on.
func TestRun(t *testing.T) {
	for _, how := range [][]string{{"spin"}, {"threads", "5"}, {"family"}} {
		p := startTarget(t, how...)
		if how[0] == "family" {
			p.settle()
		}
		s := newSaver(p.pid).copies(t)
		got, err := s.save(t, nothing)
		if err != nil || got.err != io.EOF {
			t.Fatalf("%v: %v, and behind it %v", how, err, got.err)
		}
		p.unharmed()
		p.runs(0)
		tasks, threads := 0, 0
		for _, pid := range family(p.pid) {
			tasks++
			if tids, err := proc.Threads(pid); err == nil && testkit.Must(proc.ReadStat(pid))(t).State != 'Z' {
				threads += len(tids)
			}
		}
		if len(got.of(record.TypeTask)) != tasks || len(got.of(record.TypeThread)) != threads || len(got.of(record.TypeRegs)) != threads {
			t.Errorf("%v: %d processes, %d threads, %d registers, not %d and %d", how, len(got.of(record.TypeTask)), len(got.of(record.TypeThread)), len(got.of(record.TypeRegs)), tasks, threads)
		}
		var h record.Header
		testkit.Check(t, got.list[0].Decode(&h))
		if h.RootPID != p.pid || h.Stage != record.StageRaw || h.Processes != tasks || h.Threads != threads || h.Hold == nil {
			t.Errorf("%v: %+v", how, h)
		}
		p.compare(got)
		if !s.heard("no filter took the hold within") {
			t.Errorf("%v: %s", how, s.said)
		}
	}
}

// settle waits until a family no longer changes.
func (p *target) settle() {
	testkit.Soon(p.t, "its child to have become another program", func() bool {
		for _, pid := range family(p.pid) {
			if line, err := proc.ReadCmdline(pid); err == nil && strings.Contains(string(line), "naps") {
				return true
			}
		}
		return false
	})
}

// compare compares pages in a stream with a process's memory, where that is code or was
// not written since.
func (p *target) compare(got *records) {
	p.t.Helper()
	mem, err := os.Open(fmt.Sprintf("/proc/%d/mem", p.pid))
	testkit.Check(p.t, err)
	defer mem.Close()
	pages, same := 0, 0
	for _, rec := range got.of(record.TypePages) {
		var m record.Pages
		testkit.Check(p.t, rec.Decode(&m))
		data := got.data[rec]
		for _, e := range m.Extents {
			n := int(e.End - e.Start)
			now := make([]byte, n)
			if _, err := mem.ReadAt(now, int64(e.Start)); err == nil && m.PID == p.pid {
				for at := 0; at < n; at += 4096 {
					pages++
					if bytes.Equal(now[at:at+4096], data[at:at+4096]) {
						same++
					}
				}
			}
			data = data[n:]
		}
	}
	// It may write to its stack, and the kernel to each thread's rseq(2) area.
	if may := 4 + len(got.of(record.TypeThread)); pages < 20 || same < pages-may {
		p.t.Errorf("%d of %d pages are as in its memory", same, pages)
	}
}

// TestRunToFile: a stream to a file needs no filter to wait for.
func TestRunToFile(t *testing.T) {
	p := startTarget(t, "spin")
	f := testkit.Must(os.Create(filepath.Join(t.TempDir(), "raw")))(t)
	s := newSaver(p.pid).copies(t)
	s.HoldTimeout = time.Hour
	testkit.Check(t, Run(context.Background(), s.Options, f))
	in := testkit.Must(os.Open(f.Name()))(t)
	defer in.Close()
	if got := read(in, nothing); got.err != io.EOF {
		t.Error(got.err)
	}
	p.runs(0)
}

// TestKill: a target is killed when a filter has committed, and not otherwise.
func TestKill(t *testing.T) {
	for name, c := range map[string]struct {
		say    func(h *hold.Holder) error
		killed bool
		says   string
	}{
		"committed":         {func(h *hold.Holder) error { return h.Committed(7) }, true, ""},
		"only done":         {(*hold.Holder).OK, false, "its image went into a pipe, and nobody knows whether it is stored safely"},
		"failed":            {(*hold.Holder).Failed, false, "a filter behind ckpt-collect gave up: ckpt-test failed"},
		"died":              {(*hold.Holder).Close, false, "ckpt-test died"},
		"nobody held":       {nil, false, "no filter that stores the image took the hold"},
		"description, done": {nil, false, "no filter that stores the image took the hold"},
	} {
		t.Run(name, func(t *testing.T) {
			p := startTarget(t, "spin")
			s := newSaver(p.pid).copies(t)
			s.Leave = LeaveKilled
			if c.say != nil || name == "description, done" {
				s.HoldTimeout = time.Minute // the holder comes as soon as it can
			}
			var holder *hold.Holder
			_, err := s.save(t, func(rec *stream.Record) {
				switch {
				case rec.Type == record.TypeHeader && (c.say != nil || name == "description, done"):
					var h record.Header
					if err := rec.Decode(&h); err != nil {
						t.Error(err)
					}
					what := hold.Data
					if c.say == nil {
						what = hold.Description
					}
					var err error
					if holder, err = hold.Take(*hold.RefOf(&h), "test", what); err != nil {
						t.Error(err)
					}
				case rec.Type == record.TypeEnd && holder != nil:
					say := c.say
					if say == nil {
						say = (*hold.Holder).OK
					}
					if err := say(holder); err != nil {
						t.Error(err)
					}
				}
			})
			if c.killed {
				if stat, serr := proc.ReadStat(p.pid); err != nil || serr == nil && stat.State != 'Z' {
					t.Errorf("it lives: %v", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, not %q", err, c.says)
			}
			p.unharmed()
			p.runs(0)
		})
	}
}

// TestStall: whatever a filter behind does or doesn't do, the target runs on in time, and
// the reason is reported. If the filter never reads, this program has to end.
func TestStall(t *testing.T) {
	for name, c := range map[string]struct {
		limit func(o *Options)
		reads bool
		says  string
	}{
		"never reads":          {func(o *Options) { o.Stall = 300 * time.Millisecond }, false, "nothing has moved for"},
		"never reads, limited": {func(o *Options) { o.MaxFreeze = 300 * time.Millisecond }, false, "the longest that was allowed"},
		"holds still":          {func(o *Options) { o.Stall = 300 * time.Millisecond }, true, "waiting for ckpt-test (pid "},
		"holds still, limited": {func(o *Options) { o.MaxFreeze = 300 * time.Millisecond }, true, "the longest that was allowed"},
	} {
		t.Log(name)
		p := startTarget(t, "spin")
		s := newSaver(p.pid).copies(t)
		c.limit(&s.Options)
		r, w := must2(os.Pipe())(t)
		var holder *hold.Holder // until the test ends
		if c.reads {
			s.HoldTimeout = time.Minute
			go read(r, func(rec *stream.Record) {
				var h record.Header
				if rec.Type == record.TypeHeader && rec.Decode(&h) == nil {
					var err error
					if holder, err = hold.Take(*hold.RefOf(&h), "test", hold.Data); err != nil {
						t.Error(err)
					}
				}
			})
		} else {
			fill(t, w)
		}
		died := make(chan error, 1)
		s.Die = func(err error) {
			select {
			case died <- err:
				r.Close() // as the end of this program would do
			default:
			}
		}
		done := make(chan error)
		go func() { done <- Run(context.Background(), s.Options, w) }()
		testkit.Soon(t, "it to stop", func() bool { return testkit.Must(proc.ReadStat(p.pid))(t).State == 't' })
		err := <-done
		select {
		case err = <-died:
		default:
		}
		p.unharmed()
		p.runs(0)
		r.Close()
		w.Close()
		_ = holder.Close()
		var stall *StallError
		if !errors.As(err, &stall) || !strings.Contains(err.Error(), c.says) || stall.Hint() == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPause: the watchdog looks again when the target has stood still for as long
// as it may, also if that is soon.
func TestPause(t *testing.T) {
	for _, c := range []struct {
		limit, stood time.Duration
		asked        bool
		want         time.Duration
	}{
		{0, 0, false, watchTick},
		{time.Minute, 0, false, watchTick},
		{watchTick / 2, 0, false, watchTick / 2},
		{time.Minute, time.Minute - watchTick/4, false, watchTick / 4},
		{watchTick / 2, watchTick, false, 0},
		{watchTick / 2, watchTick, true, watchTick},
	} {
		d := &watchdog{o: &Options{MaxFreeze: c.limit}}
		if c.asked {
			d.asked = time.Now()
		}
		if got := d.pause(c.stood); got != c.want {
			t.Errorf("%+v: it waits for %v", c, got)
		}
	}
}

// fill fills a pipe, so that writing to it blocks.
func fill(t *testing.T, w *os.File) {
	t.Helper()
	fd := int(w.Fd())
	_, err := unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, 1<<20)
	testkit.Check(t, err)
	testkit.Check(t, unix.SetNonblock(fd, true))
	for err = nil; err == nil; {
		_, err = unix.Write(fd, make([]byte, 4096))
	}
	testkit.Check(t, unix.SetNonblock(fd, false))
}

func must2[A, B any](a A, b B, err error) func(t testing.TB) (A, B) {
	return func(t testing.TB) (A, B) { t.Helper(); testkit.Check(t, err); return a, b }
}

// TestDryRun: a dry run writes nothing and says whether it can be saved.
func TestDryRun(t *testing.T) {
	p := startTarget(t, "spin")
	s := newSaver(p.pid).copies(t)
	s.DryRun = true
	testkit.Check(t, Run(context.Background(), s.Options, nil))
	if !s.heard("can be saved; it stood still for") {
		t.Error(s.said)
	}
	s.Copy = nil
	p.runs(0)
}

// TestBlocked: everything that stands in the way is named at once, each with its process;
// only an ABORT is written, and the target runs on.
func TestBlocked(t *testing.T) {
	runtime := exec.Command("python3", "-c", `
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall(447, 0)                  # memfd_secret, where there is one
libc.syscall(425, 8, (ctypes.c_char * 120)())  # io_uring_setup
if os.fork() == 0:
    libc.unshare(0x04000000)          # CLONE_NEWUTS
print("x", flush=True)
sys.stdin.read()`)
	in := testkit.Must(runtime.StdinPipe())(t)
	out := testkit.Must(runtime.StdoutPipe())(t)
	testkit.Check(t, runtime.Start())
	defer func() { in.Close(); _ = runtime.Process.Kill(); _ = runtime.Wait() }()
	_, err := io.ReadFull(out, make([]byte, 4)) // of both
	testkit.Check(t, err)
	pid := runtime.Process.Pid
	got, err := newSaver(pid).save(t, nothing)
	var r *Refused
	if !errors.As(err, &r) || len(r.Blockers) < 2 {
		t.Fatal(err)
	}
	for _, what := range []string{"(python3) ", "in another host name namespace"} {
		if !strings.Contains(err.Error(), what) {
			t.Errorf("%q is not in\n%v", what, err)
		}
	}
	for _, b := range r.Blockers {
		if b.PID != pid && b.PID != family(pid)[1] {
			t.Errorf("pid %d", b.PID)
		}
	}
	var abort *stream.AbortError
	if len(got.list) != 0 || !errors.As(got.err, &abort) {
		t.Errorf("%d records, %v", len(got.list), got.err)
	}
	testkit.Soon(t, "it to run on", func() bool { return testkit.Must(proc.ReadStatus(pid))(t).TracerPid == 0 })
}

// TestShared: memory shared with a process outside stands in the way, unless it is to be
// copied.
func TestShared(t *testing.T) {
	memfd, _ := newMemfd(t)
	pid, other := newSharer(t, memfd), newSharer(t, memfd)
	s := newSaver(pid)
	_, err := s.save(t, nothing)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("with pid %d (", other)) || !strings.Contains(err.Error(), "which is not being saved, and would no longer share it") {
		t.Error(err)
	}
	_, err = newSaver(pid).copies(t).save(t, nothing)
	testkit.Check(t, err)
	s = newSaver(pid).copies(t)
	_, err = s.save(t, nothing)
	testkit.Check(t, err)
	if !s.heard("becomes a copy of its own") || !s.heard("leads to pipe:[") {
		t.Error(s.said)
	}
}

// TestAdmit: what can't be saved at all is refused before anything is touched.
func TestAdmit(t *testing.T) {
	zombie := exec.Command("true")
	testkit.Check(t, zombie.Start())
	defer zombie.Wait()
	pid := zombie.Process.Pid
	testkit.Soon(t, "a zombie", func() bool { return testkit.Must(proc.ReadStat(pid))(t).State == 'Z' })
	for pid, says := range map[int]string{
		os.Getpid():  "is this very program, which can't stop itself",
		os.Getppid(): "is the parent of this very program",
		pid:          "has ended already and waits for its parent, pid " + fmt.Sprint(os.Getpid()),
		1<<22 + 5:    "there is no process 4194309",
	} {
		if err := Run(context.Background(), Options{PID: pid, DryRun: true}, nil); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("pid %d: %v", pid, err)
		}
	}
}

// TestInterrupted: a signal in the middle lets the target go.
func TestInterrupted(t *testing.T) {
	p := startTarget(t, "spin")
	s := newSaver(p.pid).copies(t)
	s.HoldTimeout = time.Hour
	ctx, cancel := context.WithCancelCause(context.Background())
	why := errors.New("a signal came")
	r, w := must2(os.Pipe())(t)
	go func() {
		_ = read(r, func(rec *stream.Record) {
			if rec.Type == record.TypeEnd {
				cancel(why)
			}
		})
		r.Close()
	}()
	if err := Run(ctx, s.Options, w); !errors.Is(err, why) {
		t.Error(err)
	}
	p.unharmed()
	p.runs(0)
}
