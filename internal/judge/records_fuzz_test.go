package judge

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/files"
	"ckpt/internal/object"
	"ckpt/stream"
	"ckpt/stream/record"
)

// What judging a stream of maxStream bytes may take: memory, and CPU time, because a
// machine may be busy.
const longestCPU = time.Second

// cost runs f and returns an error if it takes too much of either.
func cost(f func()) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const thread = 1 // RUSAGE_THREAD
	used := func() time.Duration {
		var u unix.Rusage
		_ = unix.Getrusage(thread, &u)
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	begin := used()
	f()
	took := used() - begin
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > maxAllocated || took > longestCPU {
		return fmt.Errorf("it takes %d MiB and %v", n>>20, took)
	}
	return nil
}

// worth judges a stream on paper and for this system, each within these limits.
func worth(t testing.TB, b []byte) {
	t.Helper()
	onPaper := func(m *Model) error { return OnPaper(m) }
	here := func(m *Model) error {
		note := func(string, ...any) {}
		f := &files.Restorer{Restart: &object.Restart{Note: note}}
		_, err := Here(m, &Restore{Files: f, Objects: Objects(f), Cgroups: "strict", Session: SessionNew, Clock: ClockAuto, Note: note})
		return err
	}
	for name, judge := range map[string]func(*Model) error{"on paper": onPaper, "here": here, "here with other ids": here} {
		var err error
		var ids *NewIDs
		if strings.HasSuffix(name, "other ids") {
			ids = new(NewIDs)
		}
		over := cost(func() {
			var m *Model
			if m, _, err = Read(stream.NewReader(bytes.NewReader(b)), ids); err == nil {
				err = judge(m)
			}
		})
		if over != nil {
			t.Errorf("%d bytes of stream, %s: %v", len(b), name, over)
		}
		if err != nil {
			// Thousands of reasons are reported, too.
			if over := cost(func() { _ = err.Error() }); over != nil {
				t.Errorf("%d bytes of stream, %s, in telling why not: %v", len(b), name, over)
			}
		}
	}
}

// unpackRecords makes records from bytes: the type, length and meta of each.
func unpackRecords(b []byte) (recs []*stream.Record) {
	for len(b) >= 4 {
		typ, n := record.Type(binary.LittleEndian.Uint16(b)), int(binary.LittleEndian.Uint16(b[2:]))
		b = b[4:]
		n = min(n, len(b))
		rec := &stream.Record{Type: typ, Meta: b[:n]}
		if info := record.Lookup(typ); info != nil {
			rec.Flags = info.Flags
		}
		recs, b = append(recs, rec), b[n:]
	}
	return recs
}

func packRecords(recs []*stream.Record) (b []byte) {
	for _, rec := range recs {
		b = binary.LittleEndian.AppendUint16(b, uint16(rec.Type))
		b = binary.LittleEndian.AppendUint16(b, uint16(len(rec.Meta)))
		b = append(b, rec.Meta...)
	}
	return b
}

// FuzzRecords: whatever records a stream has, with whatever meta, and with each of them
// repeated many times, judging it leads to an error or a plan, and takes at most a
// second and 256 MiB.
func FuzzRecords(f *testing.F) {
	recs := example(f)
	f.Add(packRecords(recs), uint16(0), uint16(0))
	for i := range recs {
		f.Add(packRecords(append(recs[:min(i, 8):min(i, 8)], recs[i])), uint16(i), uint16(3000))
	}
	f.Fuzz(func(t *testing.T, b []byte, which, times uint16) {
		recs := unpackRecords(b)
		if len(recs) == 0 {
			return
		}
		// Repeat one of them as often as there is room.
		again := *recs[int(which)%len(recs)]
		room := (maxStream - len(b)) / (len(again.Meta) + 64)
		var more []*stream.Record
		for range min(int(times), max(room, 0)) {
			more = append(more, &again)
		}
		if len(more) > 0 {
			recs = among(recs, more)
		}
		if text := pack(t, recs); text != nil {
			worth(t, text)
		}
	})
}

// TestWorth fills a MiB with records of each type, which differ where they must, and
// all belong to something that exists.
func TestWorth(t *testing.T) {
	for _, info := range record.Types() {
		if info.Type == record.TypeHeader || info.Type == record.TypeEnd || info.Type == record.TypeAbort {
			continue
		}
		recs := example(t)
		var rec *stream.Record
		for _, r := range recs {
			if r.Type == info.Type {
				rec = r
			}
		}
		if rec == nil {
			var err error
			if rec, err = stream.New(info.Type, info.New()); err != nil {
				t.Fatal(err)
			}
		}
		for _, what := range []byte{0x3f, 0} {
			text := pack(t, among(recs, fillUp(rec, what)))
			if len(text) < maxStream/2 {
				t.Fatalf("%v: %d bytes", info.Type, len(text))
			}
			if worth(t, text); t.Failed() {
				t.Fatalf("records %v, counting %#x", info.Type, what)
			}
		}
	}
}

// among inserts more records where they are allowed: before the bulk records, unless
// they are bulk records themselves.
func among(recs, more []*stream.Record) []*stream.Record {
	i := slices.IndexFunc(recs, func(r *stream.Record) bool { return r.Flags&record.Bulk != 0 })
	if i < 0 || more[0].Flags&record.Bulk != 0 {
		i = len(recs)
	}
	return slices.Insert(slices.Clone(recs), i, more...)
}

// fillUp makes as many records from one as there is room for. What must differ is
// counted up.
func fillUp(rec *stream.Record, what byte) (many []*stream.Record) {
	left := maxStream * 9 / 10
	_, all := fields(rec)
	for k := uint64(1); left > 0; k++ {
		next := *rec
		for i, name := range []string{"pid", "tid", "objref", "fd", "start", "ino"} {
			if v, ok := all[name].(uint64); ok && what>>i&1 != 0 {
				step := k
				if name == "start" {
					step = k << 13
					if end, ok := all["end"].(uint64); ok {
						_ = next.Set(map[string]any{"end": end + step})
					}
				}
				_ = next.Set(map[string]any{name: v + step})
			}
		}
		many = append(many, &next)
		left -= len(next.Meta) + 40
	}
	return many
}

// TestNoStream: something that is not a stream is refused for what it is.
func TestNoStream(t *testing.T) {
	for _, b := range [][]byte{nil, []byte("words"), make([]byte, 1<<20), pack(t, example(t))[:100]} {
		if _, _, err := Read(stream.NewReader(bytes.NewReader(b)), nil); err == nil {
			t.Errorf("%d bytes are a stream", len(b))
		}
		if over := cost(func() { _, _, _ = Read(stream.NewReader(bytes.NewReader(b)), nil) }); over != nil {
			t.Error(over)
		}
	}
	if _, _, err := Read(stream.NewReader(bytes.NewReader(nil)), nil); !errors.Is(err, stream.ErrTruncated) {
		t.Log(err)
	}
}
