package dedup

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/hold"
	"ckpt/internal/judge"
	"ckpt/internal/kcmp"
	"ckpt/internal/proc"
	"ckpt/stream"
	"ckpt/stream/record"
)

// byHandle takes each handle for an object of its own, but for some.
type byHandle struct{}

func (byHandle) Compare(a, b kcmp.Handle, _ kcmp.Type) (kcmp.Ordering, error) {
	x, y := a.Idx>>1<<20+uint64(a.PID), b.Idx>>1<<20+uint64(b.PID)
	switch {
	case x == y:
		return kcmp.Equal, nil
	case x < y:
		return kcmp.Less, nil
	}
	return kcmp.Greater, nil
}

// raw is a stream of one process, this one, as ckpt-collect would write it, but
// for the hold.
func raw(t testing.TB) (recs []*stream.Record) {
	add := func(typ record.Type, meta any) {
		rec, err := stream.New(typ, meta)
		if err != nil {
			t.Fatal(err)
		}
		recs = append(recs, rec)
	}
	last := uint64(0)
	known := func(kind kcmp.Type, idx uint64) record.Object {
		last++
		return record.Object{ID: last, Kcmp: &record.Kcmp{Type: int(kind), TID: selfPID, Idx: idx}}
	}
	named := func(ident string) record.Object { last++; return record.Object{ID: last, Ident: []byte(ident)} }
	const pid = selfPID
	add(record.TypeHeader, &record.Header{Stage: record.StageRaw, RootPID: pid})
	add(record.TypeReg, &record.Reg{Object: named("exe"), Stat: record.Stat{Path: "/bin/x", Mode: 0o100755}})
	add(record.TypeDir, &record.Dir{Object: named("cwd"), Stat: record.Stat{Path: "/"}})
	add(record.TypeMM, &record.MM{Object: known(kcmp.VM, 0), Refs: record.ExeRef{Exe: 1}})
	add(record.TypeVMA, &record.VMA{Start: 0x10000, End: 0x11000, Kind: record.VMAAnon, Refs: record.VMARefs{Of: 3}})
	add(record.TypeSigactions, &record.Sigactions{Object: known(kcmp.Sighand, 0)})
	add(record.TypeFS, &record.FS{Object: known(kcmp.FS, 0), Refs: record.FSRefs{Cwd: 2}})
	add(record.TypeFDTable, &record.FDTable{Object: known(kcmp.Files, 0)})
	for fd := range 3 {
		add(record.TypeEventFD, &record.EventFD{Object: named("event")})
		add(record.TypeFile, &record.File{Object: known(kcmp.File, uint64(fd)), Refs: record.InodeRef{Inode: last - 1}})
		add(record.TypeFD, &record.FD{TID: pid, FD: fd, Refs: record.FDRefs{Of: 6, File: last}})
	}
	add(record.TypeMM, &record.MM{Object: known(kcmp.VM, 0), Refs: record.ExeRef{Exe: 1}}) // again
	add(record.TypeVMA, &record.VMA{Start: 0x10000, End: 0x11000, Kind: record.VMAAnon, Refs: record.VMARefs{Of: last}})
	add(record.TypeTask, &record.Task{PID: pid, PPID: 1, PGID: pid, SID: pid, Comm: "x", ExitSignal: 17})
	add(record.TypeThread, &record.Thread{PID: pid, TID: pid, Refs: record.ThreadRefs{MM: 3, Sighand: 4, FS: 5, Files: 6}})
	add(record.TypeCreds, &record.Creds{PID: pid, TID: pid, UID: make([]uint32, 4), GID: make([]uint32, 4)})
	add(record.TypeSched, &record.Sched{PID: pid, TID: pid, Attr: make([]byte, binary.Size(unix.SchedAttr{}))})
	add(record.TypePrctl, &record.Prctl{PID: pid, TID: pid})
	add(record.TypeSignals, &record.Signals{PID: pid, TID: pid})
	add(record.TypeRegs, &record.Regs{PID: pid, TID: pid, GP: make([]byte, 27*8)})
	add(record.TypeUserPtrs, &record.UserPtrs{PID: pid, TID: pid})
	add(record.TypeLimits, &record.Limits{PID: pid, Limits: make([]record.Limit, 16)})
	add(record.TypeProcAttr, &record.ProcAttr{PID: pid})
	add(record.TypePages, &record.Pages{PID: pid, Refs: record.PartOf{Of: 3}})
	return recs
}

// selfPID stands for this process, whose id differs from run to run.
const selfPID = 4000000

// loose is the plainest way to write records: type, flags, length of meta and of
// data, meta. Unlike in a stream, random changes are not found by it.
func loose(recs []*stream.Record) (b []byte) {
	for _, rec := range recs {
		b = append(b, byte(rec.Type), byte(rec.Flags), byte(len(rec.Meta)), byte(len(rec.Meta)>>8), byte(rec.DataLen))
		b = append(b, rec.Meta...)
	}
	return b
}

// tight makes a stream of it, with this hold.
func tight(t *testing.T, b []byte, h *hold.Hold, self *proc.Stat) []byte {
	var out bytes.Buffer
	w := stream.NewWriter(&out)
	ref := h.Ref()
	bulk := false
	for first := true; len(b) >= 5; first = false {
		rec := &stream.Record{Type: record.Type(b[0]), Flags: record.Flags(b[1] & 7), DataLen: int64(b[4])}
		n := min(int(b[2])|int(b[3])<<8, len(b)-5)
		rec.Meta, b = b[5:5+n], b[5+n:]
		if bulk = bulk || rec.Flags&record.Bulk != 0; rec.Type == record.TypeEnd || rec.Type == record.TypeAbort || bulk && rec.Flags&record.Bulk == 0 ||
			first != (rec.Type == record.TypeHeader) || len(rec.Meta) == 0 || rec.Meta[0]>>5 != 5 {
			continue
		}
		changes := map[string]any{}
		if first {
			changes = map[string]any{"checkpoint": ref.Checkpoint, "tracer": 0,
				"hold": &record.Hold{PID: ref.PID, StartTime: ref.StartTime, FD: ref.FD, BootID: ref.BootID, Mark: ref.Mark}}
		}
		var of struct {
			PID int `cbor:"pid"`
			TID int `cbor:"tid"`
		}
		if rec.Decode(&of) == nil && of.PID == selfPID {
			if changes["pid"] = os.Getpid(); of.TID == selfPID {
				changes["tid"] = os.Getpid()
			}
		}
		if rec.Type == record.TypeTask {
			changes["start_time"] = self.StartTime
		}
		_ = rec.Set(changes) // else it goes as it is
		if err := w.Write(rec, bytes.NewReader(make([]byte, rec.DataLen))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Add(record.TypeEnd, &record.End{}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// memfd is a file with these bytes.
func memfd(t *testing.T, b []byte) *os.File {
	fd, err := unix.MemfdCreate("fuzz", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "fuzz")
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	return f
}

// FuzzDedup: any raw stream becomes a shared one that can be restored, or there
// is an error, no END, and the hold knows of the failure.
func FuzzDedup(f *testing.F) {
	recs := raw(f)
	f.Add(loose(recs))
	f.Add(loose(recs[:12]))
	f.Add(loose(append(recs[:20:20], recs[18], recs[19])))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 {
			return
		}
		_ = dedup(t, b)
	})
}

// TestFuzzDedupSeed: the fuzzer begins with a stream that is good.
func TestFuzzDedupSeed(t *testing.T) {
	if err := dedup(t, loose(raw(t))); err != nil {
		t.Fatal(err)
	}
}

func dedup(t *testing.T, b []byte) error {
	h, err := hold.New("0123456789abcdef0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	self, err := proc.ReadStat(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	in, out := memfd(t, tight(t, b, h, &self)), memfd(t, nil)
	defer in.Close()
	defer out.Close()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begin := time.Now()
	err = Run(context.Background(), Options{Step: func(string, ...any) {}, Comparer: byHandle{}}, in, out)
	took := time.Since(begin)
	runtime.ReadMemStats(&after)
	const most, longest = 64 << 20, 20 * time.Second // a machine may be busy
	if n := after.TotalAlloc - before.TotalAlloc; n > most || took > longest {
		t.Fatalf("%d bytes take %d bytes of memory and %v", len(b), n, took)
	}
	outcome, e := h.Wait(context.Background(), hold.WaitOptions{})
	if e != nil {
		t.Fatal(e)
	}
	if outcome.Taken && (len(outcome.Failures) == 0) != (err == nil) {
		t.Fatalf("the hold heard %+v of: %v", outcome, err)
	}
	if _, e := out.Seek(0, io.SeekStart); e != nil {
		t.Fatal(e)
	}
	judged := read(out)
	if (judged == nil) != (err == nil) {
		t.Fatalf("ckpt-dedup says: %v; its output: %v", err, judged)
	}
	return err
}

// read judges what came out.
func read(out io.Reader) error {
	r := stream.NewReader(out)
	m, rec, err := judge.Read(r, nil)
	for err == nil && rec.Type != record.TypeEnd {
		rec, err = r.Next()
	}
	if err == nil {
		if _, err = r.Next(); errors.Is(err, io.EOF) {
			err = judge.OnPaper(m)
		}
	}
	return err
}

// TestEarlyVerdict: what can't be restored is refused while the description is
// still being read, however long that is.
func TestEarlyVerdict(t *testing.T) {
	h, err := hold.New("0123456789abcdef0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	in, feed, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Close()
	out := memfd(t, nil)
	defer out.Close()
	go func() { // without an end
		ref := h.Ref()
		w := stream.NewWriter(feed)
		err := errors.Join(w.Add(record.TypeHeader, &record.Header{Stage: record.StageRaw, Checkpoint: ref.Checkpoint,
			Hold: &record.Hold{PID: ref.PID, StartTime: ref.StartTime, FD: ref.FD, BootID: ref.BootID, Mark: ref.Mark}}),
			w.Add(record.TypeCreds, &record.Creds{PID: 7, TID: 7}))
		for id := uint64(1); err == nil; id++ {
			err = w.Add(record.TypeReg, &record.Reg{Object: record.Object{ID: id}})
		}
	}()
	said := make(chan error, 1)
	go func() {
		err := Run(context.Background(), Options{Step: func(string, ...any) {}, Comparer: byHandle{}}, in, out)
		said <- errors.Join(err, in.Close())
	}()
	select {
	case err := <-said:
		var at *stream.RecordError
		if !errors.As(err, &at) || at.Index != 1 || at.Type != record.TypeCreds || !errors.Is(err, stream.ErrCorrupt) {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("it goes on reading")
	}
}
