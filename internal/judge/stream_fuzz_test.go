package judge

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"os"
	"reflect"
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

// example is a stream with a record of every kind of description, which can be
// restored: a process with two threads, a child that shares its descriptors, and
// a zombie.
func example(t testing.TB) (recs []*stream.Record) {
	add := func(typ record.Type, meta any) {
		rec, err := stream.New(typ, meta)
		if err != nil {
			t.Fatal(err)
		}
		recs = append(recs, rec)
	}
	last := uint64(0)
	object := func() record.Object { last++; return record.Object{Objref: last} }
	st := func(path string, mode uint32) record.Stat { return record.Stat{Path: path, Mode: mode, Ino: 7} }
	const root, thread, child, zombie = firstPID, firstPID + 1, firstPID + 2, firstPID + 3

	add(record.TypeHeader, &record.Header{Stage: record.StageShared, Arch: runtime.GOARCH, PageSize: int64(os.Getpagesize()), RootPID: root,
		Clocks: &record.Clocks{Monotonic: 1e12, Boottime: 2e12, MonotonicOffset: -5}})
	add(record.TypeReg, &record.Reg{Object: object(), Stat: st("/bin/x", unix.S_IFREG|0o755), Size: 8192, Nlink: 1}) // 1
	add(record.TypeDir, &record.Dir{Object: object(), Stat: st("/", unix.S_IFDIR|0o755)})                            // 2
	for i := range uint64(2) {                                                                                       // 3 to 6, 7 to 10
		pid := root + 2*int(i)
		add(record.TypeMM, &record.MM{Object: object(), PID: pid, Auxv: make([]byte, 16), Membarrier: 1 << 4, Refs: record.ExeRef{Exe: 1}})
		add(record.TypeSigactions, &record.Sigactions{Object: object(), PID: pid, Actions: []record.Sigaction{{Signal: 10, Handler: 4096}}})
		add(record.TypeFS, &record.FS{Object: object(), TID: pid, Umask: 0o22, Refs: record.FSRefs{Cwd: 2}})
		add(record.TypeFDTable, &record.FDTable{Object: object(), TID: pid})
	}
	add(record.TypeIOCtx, &record.IOCtx{Object: object(), TID: root})                     // 11
	add(record.TypeSemUndo, &record.SemUndo{Object: object(), TID: root})                 // 12
	add(record.TypeShmem, &record.Shmem{Object: object(), Size: 8192})                    // 13
	add(record.TypeSysVShm, &record.SysVShm{Object: object(), ShmID: 1<<31 - 1, Size: 1}) // 14
	add(record.TypeVMA, &record.VMA{PID: root, Start: 0x10000, End: 0x12000, Kind: record.VMAFile, Prot: 5, VmFlags: "rd ex mr", Refs: record.VMARefs{Of: 3, Inode: 1}})
	add(record.TypeVMA, &record.VMA{PID: root, Start: 0x20000, End: 0x22000, Kind: record.VMAAnon, Prot: 3, VmFlags: "rd wr ac",
		Guards: []record.Extent{{Start: 0x20000, End: 0x21000}}, NUMA: &record.MemPolicy{Mode: 2, Nodes: []byte{1}}, Refs: record.VMARefs{Of: 3}})
	add(record.TypeVMA, &record.VMA{PID: root, Start: 0x30000, End: 0x32000, Kind: record.VMAShmem, Prot: 3, Shared: true, RW: true, Refs: record.VMARefs{Of: 3, Inode: 13}})
	add(record.TypeVMA, &record.VMA{PID: root, Start: 0x40000, End: 0x41000, Kind: record.VMASysVShm, Prot: 3, Shared: true, Refs: record.VMARefs{Of: 7, Inode: 14}})
	add(record.TypeVMA, &record.VMA{PID: root, Start: 1<<64 - 10<<20, End: 1<<64 - 10<<20 + 4096, Kind: record.VMAVsyscall, Prot: 4, Refs: record.VMARefs{Of: 3}})

	opened := func(fd int, table uint64, flags uint32, typ record.Type, meta any) {
		inode := last
		add(typ, meta)
		file := object()
		add(record.TypeFile, &record.File{Object: file, Flags: flags, Refs: record.InodeRef{Inode: inode}})
		add(record.TypeFD, &record.FD{TID: root, FD: fd, Refs: record.FDRefs{Of: table, File: file.Objref}})
	}
	opened(0, 6, unix.O_RDWR, record.TypeCharDev, &record.CharDev{Object: object(), Stat: st("/dev/null", unix.S_IFCHR|0o666), Rdev: unix.Mkdev(1, 3)})
	opened(1, 6, unix.O_WRONLY, record.TypePipe, &record.Pipe{Object: object(), Ino: 5, Capacity: 65536, OutsideReaders: true})
	opened(2, 6, unix.O_RDWR, record.TypeTTY, &record.TTY{Object: object(), Stat: st("/dev/pts/0", unix.S_IFCHR|0o620)})
	opened(3, 6, unix.O_RDWR, record.TypeFifo, &record.Fifo{Object: object(), Stat: st("/tmp/fifo", unix.S_IFIFO|0o600), Capacity: 4096})
	opened(4, 6, unix.O_RDWR, record.TypeEventFD, &record.EventFD{Object: object(), Count: 3})
	opened(5, 6, unix.O_RDWR, record.TypeEpoll, &record.Epoll{Object: object()})
	epoll := last
	opened(6, 6, unix.O_RDWR, record.TypeUnixSock, &record.UnixSock{Object: object(), Ino: 8, Peer: 9, Kind: unix.SOCK_STREAM, Maker: &record.PeerCred{PID: root, Groups: []uint32{1}},
		Options: []record.SockOption{{Name: unix.SO_PASSCRED, Value: 1}}})
	opened(7, 10, unix.O_RDWR, record.TypeUnixSock, &record.UnixSock{Object: object(), Ino: 9, Peer: 8, Kind: unix.SOCK_STREAM})
	sock := &record.SockFile{Stat: st("/tmp/x.sock", unix.S_IFSOCK|0o700), Deleted: true}
	opened(40, 10, unix.O_RDWR, record.TypeUnixSock, &record.UnixSock{Object: object(), Ino: 10, Kind: unix.SOCK_STREAM, Name: []byte("x.sock"), File: sock, Listen: &record.Listen{Backlog: 5, Waiting: []uint64{13}}})
	opened(41, 10, unix.O_RDWR, record.TypeUnixSock, &record.UnixSock{Object: object(), Ino: 11, Peer: 12, Kind: unix.SOCK_STREAM, Name: []byte("x.sock"), Accepted: true})
	opened(42, 10, unix.O_RDWR, record.TypeUnixSock, &record.UnixSock{Object: object(), Ino: 12, Peer: 11, Kind: unix.SOCK_STREAM})
	opened(43, 10, unix.O_RDWR, record.TypeUnixSock, &record.UnixSock{Object: object(), Ino: 13, Kind: unix.SOCK_STREAM, Name: []byte("\x00ckpt-example")})
	add(record.TypeSockRights, &record.SockRights{At: 1, Len: 2, Refs: record.SockRightsRefs{Socket: last - 3, File: last}})
	opened(8, 10, unix.O_RDWR, record.TypeMemFD, &record.MemFD{Object: object(), Name: "m", Size: 4096, Mode: unix.S_IFREG | 0o777, Seals: 1})
	opened(11, 10, unix.O_RDWR|unix.O_NONBLOCK, record.TypeSignalFD, &record.SignalFD{Object: object(), Mask: 1<<63 | 1<<9})
	opened(21, 10, unix.O_RDWR, record.TypeIOUring, &record.IOUring{Object: object(), SQEntries: 4, CQEntries: 8, Count: 5})
	opened(20, 10, unix.O_RDWR, record.TypePTMX, &record.PTMX{Object: object(), Path: "/dev/ptmx", Number: 3, Slave: st("/dev/pts/3", unix.S_IFCHR|0o620), Termios: make([]byte, 44), SID: 4000000, PGID: 4000000})
	opened(12, 10, unix.O_RDWR, record.TypeTimerFD, &record.TimerFD{Object: object(), Clock: unix.CLOCK_MONOTONIC, ValueNS: 5, IntervalNS: 5, Ticks: 2})
	opened(13, 10, unix.O_RDWR|unix.O_EXCL, record.TypePidFD, &record.PidFD{Object: object(), PID: root})
	opened(14, 10, unix.O_RDWR, record.TypePidFD, &record.PidFD{Object: object(), Status: 3 << 8})
	opened(16, 10, unix.O_PATH|unix.O_NOFOLLOW, record.TypeOPath, &record.OPath{Object: object(), Stat: st("/bin/link", unix.S_IFLNK|0o777)})
	opened(17, 10, unix.O_RDWR, record.TypeMQueue, &record.MQueue{Object: object(), Name: "q", MaxMessages: 10, MessageBytes: 100, Deleted: true})
	inotify := last + 1
	opened(15, 10, unix.O_RDONLY, record.TypeInotify, &record.Inotify{Object: object(), Waiting: 16})
	opened(31, 10, unix.O_RDWR, record.TypeNetlink, &record.Netlink{Object: object(), Ino: 7, Kind: unix.SOCK_RAW, Port: 4000000, Groups: []int{1}})
	opened(30, 10, unix.O_RDWR, record.TypeInetSock, &record.InetSock{Object: object(), Ino: 6, Domain: 2, Kind: 1, Protocol: 6, State: 10, Local: &record.InetAddr{IP: []byte{127, 0, 0, 1}, Port: 80}, Backlog: 5})
	opened(9, 10, unix.O_RDONLY, record.TypeProcFile, &record.ProcFile{Object: object(), Path: "/proc/4000000/status", Mode: unix.S_IFREG | 0o444})
	opened(10, 10, unix.O_RDWR, record.TypeReg, &record.Reg{Object: object(), Stat: st("/tmp/gone", unix.S_IFREG|0o600), Size: 10, Deleted: true,
		Xattrs: []record.Xattr{{Name: "user.a", Value: []byte("b")}}})
	add(record.TypeLock, &record.Lock{TID: root, FD: 10, Kind: record.LockPosix, Write: true, Refs: record.FDRefs{Of: 10, File: last}})

	add(record.TypeTask, &record.Task{PID: root, PPID: 1, PGID: root, SID: root, Comm: "root", ExitSignal: int(unix.SIGCHLD)})
	refs := record.ThreadRefs{MM: 3, Sighand: 4, FS: 5, Files: 6, IO: 11, SysVSem: 12}
	attr := make([]byte, binary.Size(unix.SchedAttr{}))
	describe := func(pid, tid int, refs record.ThreadRefs) {
		add(record.TypeThread, &record.Thread{PID: pid, TID: tid, Comm: "thread", Refs: refs})
		add(record.TypeCreds, &record.Creds{PID: pid, TID: tid, UID: make([]uint32, 4), GID: make([]uint32, 4), Groups: []uint32{4}, Dumpable: 1})
		add(record.TypeSched, &record.Sched{PID: pid, TID: tid, Attr: attr, Affinity: []byte{3}, NUMA: &record.MemPolicy{Mode: 1, Nodes: []byte{1}}})
		add(record.TypePrctl, &record.Prctl{PID: pid, TID: tid, Values: []record.PrctlValue{{Name: "tsc", Value: 1}}})
		add(record.TypeSignals, &record.Signals{PID: pid, TID: tid, Pending: [][]byte{make([]byte, 128)}})
		add(record.TypeRegs, &record.Regs{PID: pid, TID: tid, GP: make([]byte, 27*8), XState: []byte{0}})
		add(record.TypeUserPtrs, &record.UserPtrs{PID: pid, TID: tid})
		add(record.TypeSeccomp, &record.Seccomp{PID: pid, TID: tid, Mode: 2, Filters: []record.SeccompFilter{{Program: make([]byte, 8)}}, Common: 1})
		add(record.TypeRseq, &record.Rseq{PID: pid, TID: tid, Addr: 4096, Size: 32})
		add(record.TypeLoginUID, &record.LoginUID{PID: pid, TID: tid, UID: 5})
		if pid == tid {
			add(record.TypeLimits, &record.Limits{PID: pid, Limits: make([]record.Limit, 16)})
			add(record.TypeProcAttr, &record.ProcAttr{PID: pid, CoredumpFilter: 0x33})
			add(record.TypeTimers, &record.Timers{PID: pid, Timers: []record.Timer{{ID: 0, Signal: 14, ValueNS: 5}}})
			add(record.TypeItimers, &record.Itimers{PID: pid, Timers: []record.Itimer{{ValueUS: 5}}})
			add(record.TypeCgroups, &record.Cgroups{PID: pid, Groups: []record.Cgroup{{Path: []byte("/")}}})
		}
	}
	describe(root, root, refs)
	describe(root, thread, refs)
	add(record.TypeEpollTarget, &record.EpollTarget{TID: root, FD: 4, Events: 1, Refs: record.EpollFileRef{Epoll: epoll, File: epoll}})
	add(record.TypeInotifyWatch, &record.InotifyWatch{Stat: st("/tmp", unix.S_IFDIR|0o700), TID: root, WD: 7, Mask: unix.IN_CREATE, CtimeNS: 5, Refs: record.InotifyRefs{Inotify: inotify}})
	add(record.TypeTask, &record.Task{PID: child, PPID: root, PGID: root, SID: root, Comm: "child", ExitSignal: int(unix.SIGCHLD), StopSig: 19})
	describe(child, child, record.ThreadRefs{MM: 7, Sighand: 8, FS: 9, Files: 6})
	add(record.TypeTask, &record.Task{PID: zombie, PPID: child, PGID: 5, SID: root, Comm: "zombie", Zombie: true, PGIDOutside: true, ExitSignal: int(unix.SIGCHLD)})
	return recs
}

// values are what the fuzzer puts in place of a field.
var values = []any{
	0, 1, -1, 2, 3, 4, 6, 10, 64, 65, 4095, 4096, 1 << 20, 1<<20 + 1, 1 << 22, 1<<22 + 1, 1<<31 - 1, 1 << 31, -1 << 31, 1 << 32, 1<<47 - 4096, 1 << 62, 1<<63 - 1, -1 << 63, uint64(1<<64 - 1), uint64(1<<64 - 4096),
	firstPID - 1, firstPID, firstPID + 1, firstPID + 2, firstPID + 3, firstPID + 4,
	false, true, nil, "", "/", "/tmp/x", "a\x00b", "/" + strings.Repeat("x", 5000), strings.Repeat("/x", 300), "file", "anon", "vdso", "vsyscall", "huge", "posix", "/proc/4000000/fd/3", "/proc/self",
	[]any{}, []any{0}, []any{nil}, []any{0, 4096}, []any{[]any{0, 4096}}, []any{map[string]any{}}, make([]any, 5000), make([]int, 17), []string{""}, make([]byte, 128),
	map[string]any{}, map[string]any{"pid": -1}, map[string]any{"a": map[string]any{"a": nil}},
}

// edit changes records as a script says.
func edit(recs []*stream.Record, s *script) []*stream.Record {
	for n := 0; n < 64 && len(s.b) > 0 && len(recs) > 0; n++ {
		op, i := s.next(), s.below(len(recs))
		rec := *recs[i]
		switch op % 10 {
		case 0:
			setField(&rec, s)
		case 1, 9:
			spoil(&rec, s)
		case 2:
			setRef(&rec, s)
		case 3: // a byte
			rec.Meta = slices.Clone(rec.Meta)
			if len(rec.Meta) > 0 {
				rec.Meta[s.below(len(rec.Meta))] = s.next()
			}
		case 4:
			rec.Type = record.Types()[s.below(len(record.Types()))].Type
			rec.Flags = record.Flags(s.next() & 7)
			if rec.Type == record.TypeHeader || rec.Type == record.TypeEnd || rec.Type == record.TypeAbort {
				continue
			}
		case 5:
			recs = slices.Delete(slices.Clone(recs), i, i+1)
			continue
		case 6: // somewhere else
			recs = slices.Insert(slices.Delete(slices.Clone(recs), i, i+1), s.below(len(recs)), &rec)
			continue
		case 7: // many copies
			recs = slices.Insert(slices.Clone(recs), i, repeat(&rec, s)...)
			continue
		case 8:
			pairs, n := s.next()&3, int(s.next())
			rec.Meta = append([]byte{0xa0 | pairs}, s.b[:min(len(s.b), n)]...)
		}
		recs = slices.Clone(recs)
		recs[i] = &rec
	}
	return recs
}

func fields(rec *stream.Record) (names []string, all map[string]any) {
	if rec.Decode(&all) != nil {
		return nil, nil
	}
	return slices.Sorted(maps.Keys(all)), all
}

func setField(rec *stream.Record, s *script) {
	names, _ := fields(rec)
	if info := record.Lookup(rec.Type); info != nil && s.next()&1 != 0 {
		whole := *rec
		if b, err := stream.Marshal(info.New()); err == nil {
			whole.Meta = b
			names, _ = fields(&whole)
		}
	}
	if len(names) == 0 {
		return
	}
	_ = rec.Set(map[string]any{names[s.below(len(names))]: values[s.below(len(values))]})
}

// ints and texts are what a number and a text may become.
var ints, texts = func() (ints []int64, texts []string) {
	for _, v := range values {
		switch v := v.(type) {
		case int:
			ints = append(ints, int64(v))
		case string:
			texts = append(texts, v)
		}
	}
	return ints, texts
}()

// spoil changes something in a record, which stays a valid record of its type.
func spoil(rec *stream.Record, s *script) {
	info := record.Lookup(rec.Type)
	if info == nil {
		return
	}
	v := info.New()
	if rec.Decode(v) != nil {
		return
	}
	spoilValue(reflect.ValueOf(v).Elem(), s)
	if b, err := stream.Marshal(v); err == nil {
		rec.Meta = b
	}
}

func spoilValue(v reflect.Value, s *script) {
	if !v.CanSet() {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		spoilValue(v.Field(s.below(v.NumField())), s)
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		} else if s.below(4) == 0 {
			v.SetZero()
			return
		}
		spoilValue(v.Elem(), s)
	case reflect.Slice:
		switch n := v.Len(); {
		case n == 0 || s.below(6) == 0:
			v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
		case s.below(6) == 0:
			v.SetLen(n - 1)
		default:
			spoilValue(v.Index(s.below(n)), s)
		}
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(number(v.Int(), s))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(number(int64(v.Uint()), s)))
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.String:
		v.SetString(texts[s.below(len(texts))])
	}
}

// number is another number.
func number(n int64, s *script) int64 {
	switch how := s.next(); how % 4 {
	case 0:
		return ints[s.below(len(ints))]
	case 1:
		return n + int64(int8(s.next()))
	case 2:
		return n ^ 1<<(s.next()%64)
	default:
		return int64(s.next())
	}
}

func setRef(rec *stream.Record, s *script) {
	var m struct {
		Refs map[string]uint64 `cbor:"refs"`
	}
	if rec.Decode(&m) != nil || len(m.Refs) == 0 {
		return
	}
	m.Refs[slices.Sorted(maps.Keys(m.Refs))[s.below(len(m.Refs))]] = uint64(s.below(48))
	_ = rec.SetRefs(m.Refs)
}

// repeat makes many records from one. What must differ is counted up.
func repeat(rec *stream.Record, s *script) (many []*stream.Record) {
	counted := []string{"pid", "tid", "objref", "fd", "start", "ino"}
	what, n := s.next(), 1<<(s.next()%11)
	_, all := fields(rec)
	for k := range n {
		next := *rec
		for i, name := range counted {
			if v, ok := all[name].(uint64); ok && what>>i&1 != 0 {
				_ = next.Set(map[string]any{name: v + uint64(k+1)<<(6*(what>>6))})
			}
		}
		many = append(many, &next)
	}
	return many
}

const (
	maxStream    = 1 << 20
	maxAllocated = 256 << 20
	longest      = 20 * time.Second // a machine may be busy
)

// pack writes records as a stream; nil if they are too large.
func pack(t testing.TB, recs []*stream.Record) []byte {
	var b bytes.Buffer
	w := stream.NewWriter(&b)
	bulk := false
	for _, rec := range recs {
		if b.Len() > maxStream {
			return nil
		}
		if bulk = bulk || rec.Flags&record.Bulk != 0; bulk && rec.Flags&record.Bulk == 0 {
			continue
		}
		if w.Write(rec, nil) != nil {
			return nil
		}
	}
	if err := w.Add(record.TypeEnd, &record.End{}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// judgeAll judges a stream in every way.
func judgeAll(t testing.TB, b []byte) (onPaper error) {
	m, _, err := Read(stream.NewReader(bytes.NewReader(b)), nil)
	if err != nil {
		return err
	}
	if onPaper = OnPaper(m); onPaper == nil {
		m.assignSessions(sessionPolicy{note: func(string, ...any) {}})
		if p := makePlan(m); len(p.errs) == 0 {
			if t, ok := t.(*testing.T); ok {
				uphold(t, m, p)
			}
		}
	}
	m, _, err = Read(stream.NewReader(bytes.NewReader(b)), nil)
	if err != nil {
		t.Fatalf("read again: %v", err)
	}
	note := func(string, ...any) {}
	f := &files.Restorer{Restart: &object.Restart{Note: note}}
	_, err = Here(m, &Restore{Files: f, Objects: Objects(f), Cgroups: "strict", Session: SessionNew, Clock: ClockAuto, Note: note})
	var refused *Refused
	if err != nil && !errors.As(err, &refused) {
		t.Fatalf("no refusal: %v", err)
	}
	return onPaper
}

// TestExample: the fuzzer's example is good as it is.
func TestExample(t *testing.T) {
	if err := judgeAll(t, pack(t, example(t))); err != nil {
		t.Fatal(err)
	}
}

// FuzzStream: whatever is in a stream, it is refused or there is a plan that works, and
// neither takes more memory or time than the size of the stream justifies.
func FuzzStream(f *testing.F) {
	recs := example(f)
	f.Add([]byte{})
	for op := range byte(10) {
		f.Add([]byte{op, 40, 1, 7, 30, op, 60, 0, 3, 3})
		f.Add([]byte{op, 80, 0, 2, 3, op, 20, 1, 4, 5, 7, 55, 3, 7})
	}
	f.Fuzz(func(t *testing.T, edits []byte) {
		b := pack(t, edit(recs, &script{edits}))
		if b == nil {
			return
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		begin := time.Now()
		_ = judgeAll(t, b)
		took := time.Since(begin)
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > maxAllocated || took > longest {
			t.Fatalf("%d bytes of stream take %d bytes of memory and %v", len(b), n, took)
		}
	})
}
