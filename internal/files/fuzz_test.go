package files

import (
	"bytes"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/ends"
	"ckpt/internal/object"
	"ckpt/internal/objhash"
	"ckpt/stream"
	"ckpt/stream/record"
)

// FuzzCheck: the records of a file, its description and its descriptor pass the
// checks or don't, whatever is in them. Objects that pass on paper and consist of
// kernel memory alone can be made, filled and completed, or that returns an error.
func FuzzCheck(f *testing.F) {
	st := record.Stat{Path: "/dev/null", Mode: unix.S_IFCHR | 0o666, FH: &record.Handle{Bytes: []byte{1}}, BtimeNS: 1}
	good := map[record.Type]any{
		record.TypeReg:      &record.Reg{Object: record.Object{Objref: 1}, Stat: record.Stat{Path: "/tmp/x", Follow: true}, Size: 5, Xattrs: []record.Xattr{{Name: "user.x", Value: []byte("y")}}},
		record.TypeDir:      &record.Dir{Object: record.Object{Objref: 1}, Stat: record.Stat{Path: "/"}},
		record.TypePipe:     &record.Pipe{Object: record.Object{Objref: 1}, Ino: 5, Capacity: 8192, OutsideReaders: true},
		record.TypeFifo:     &record.Fifo{Object: record.Object{Objref: 1}, Stat: record.Stat{Path: "/dev/null"}, Capacity: 5},
		record.TypeCharDev:  &record.CharDev{Object: record.Object{Objref: 1}, Stat: st, Rdev: unix.Mkdev(1, 3)},
		record.TypeTTY:      &record.TTY{Object: record.Object{Objref: 1}, Stat: record.Stat{Path: "/dev/pts/1"}, Termios: make([]byte, 44), Line: unix.Mkdev(136, 1)},
		record.TypeEventFD:  &record.EventFD{Object: record.Object{Objref: 1}, Count: 1<<64 - 2, Semaphore: true},
		record.TypeSignalFD: &record.SignalFD{Object: record.Object{Objref: 1}, Mask: 1<<63 | 1<<9},
		record.TypeTimerFD:  &record.TimerFD{Object: record.Object{Objref: 1}, Clock: unix.CLOCK_BOOTTIME, Absolute: true, ValueNS: 1<<63 - 1, IntervalNS: 5, Ticks: 3},
		record.TypePidFD:    &record.PidFD{Object: record.Object{Objref: 1}, PID: 7},
		record.TypeMQueue:   &record.MQueue{Object: record.Object{Objref: 1}, Name: "ckpt-fuzz", MaxMessages: 1, MessageBytes: 1, Deleted: true},
		record.TypeOPath:    &record.OPath{Object: record.Object{Objref: 1}, Stat: record.Stat{Path: "/proc/self/exe", Mode: unix.S_IFLNK | 0o777}},
		record.TypeInotify:  &record.Inotify{Object: record.Object{Objref: 1}, Waiting: 16},
		record.TypeUnixSock: &record.UnixSock{Object: record.Object{Objref: 1}, Ino: 5, Orphan: true, Kind: 1, SndBuf: 4096, Linger: &record.Linger{Seconds: 1}, Options: []record.SockOption{{Name: 16, Value: 1}}},
		record.TypeIOUring:  &record.IOUring{Object: record.Object{Objref: 1}, SQEntries: 4, CQEntries: 8, Count: 5},
		record.TypePTMX: &record.PTMX{Object: record.Object{Objref: 1}, Path: "/dev/ptmx", Number: 3, Slave: record.Stat{Path: "/dev/pts/3", Mode: 0o620}, Termios: make([]byte, 44),
			Rows: 25, Cols: 80, Packet: true, Locked: true, HungUp: true, SID: 7, PGID: 7},
		record.TypeInetSock: &record.InetSock{Object: record.Object{Objref: 1}, Domain: 2, Kind: 1, Protocol: 6, State: 1, Local: &record.InetAddr{IP: []byte{127, 0, 0, 1}, Port: 5}, Peer: &record.InetAddr{IP: []byte{127, 0, 0, 1}, Port: 6}, Options: []record.LevelOption{{Level: 6, Name: 1, Value: 1}}},
		record.TypeNetlink:  &record.Netlink{Object: record.Object{Objref: 1}, Kind: 3, Groups: []int{1, 5}, Options: []record.LevelOption{{Level: 270, Name: 11, Value: 1}}},
		record.TypeMemFD:    &record.MemFD{Object: record.Object{Objref: 1}, Name: "m", Size: 4096, Seals: 15},
		record.TypeProcFile: &record.ProcFile{Object: record.Object{Objref: 1}, Path: "/proc/7/task/7/status"},
	}
	deleted := map[record.Type]any{
		record.TypeDir:  &record.Dir{Object: record.Object{Objref: 1}, Stat: record.Stat{Path: "/x", Mode: unix.S_IFDIR}, Deleted: true, Xattrs: []record.Xattr{{Name: "user.x"}}},
		record.TypeFifo: &record.Fifo{Object: record.Object{Objref: 1}, Stat: record.Stat{Path: "/x", Mode: unix.S_IFIFO}, Capacity: 5, Deleted: true},
	}
	sockets := []any{
		&record.UnixSock{Object: record.Object{Objref: 1}, Ino: 5, Kind: 1, Name: []byte("a/../x"), Listen: &record.Listen{Backlog: 3},
			File: &record.SockFile{Stat: record.Stat{Path: "/x", Mode: unix.S_IFSOCK}, Deleted: true}},
		&record.UnixSock{Object: record.Object{Objref: 1}, Ino: 5, Kind: 2, Name: []byte("\x00ckpt-fuzz"), Orphan: true, PeerName: []byte("/run/x")},
	}
	kept := *good[record.TypeInetSock].(*record.InetSock)
	kept.Repair = &record.TCPRepair{SendNext: 7, RecvNext: 3, Sent: 2, Unsent: 1, MSS: 1460, SendScale: 7, SACK: true, Stamps: true, Stamp: 9, SendWnd: 1 << 16, MaxWindow: 1 << 16, RecvWnd: 1 << 16}
	content := map[record.Type]any{
		record.TypePipe:     &record.PipeData{Packets: []int64{1, 2}, Refs: record.InodeRef{Inode: 1}},
		record.TypeUnixSock: &record.SockData{Messages: []int64{1, 2}, Creds: []record.SockCreds{{Count: 1, PID: 5}}, Refs: record.InodeRef{Inode: 1}},
		record.TypeInetSock: &record.SockData{Refs: record.InodeRef{Inode: 1}},
		record.TypeMemFD:    &record.Content{Offset: 4, Refs: record.InodeRef{Inode: 1}},
		record.TypeIOUring:  &record.Content{Offset: 64, Refs: record.InodeRef{Inode: 1}},
	}
	marshal := func(v any) []byte {
		b, err := stream.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	file := marshal(&record.File{Object: record.Object{Objref: 2}, Flags: unix.O_RDWR, Pos: 3, Owner: &record.Owner{PID: 7}, Refs: record.InodeRef{Inode: 1}})
	for i := range Kinds {
		for _, v := range []any{record.Lookup(Kinds[i].Type).New(), good[Kinds[i].Type], deleted[Kinds[i].Type]} {
			if v == nil {
				continue
			}
			more := []byte{}
			if c := content[Kinds[i].Type]; c != nil {
				more = marshal(c)
			}
			f.Add(byte(i), uint16(i), marshal(v), file, more, []byte("abc"))
		}
	}
	for _, v := range sockets {
		f.Add(byte(slices.IndexFunc(Kinds, func(k Kind) bool { return k.Type == record.TypeUnixSock })), uint16(9), marshal(v), file,
			marshal(&record.SockData{Messages: []int64{3}, Senders: []record.SockSender{{Count: 1, Name: []byte("y")}}, Refs: record.InodeRef{Inode: 1}}), []byte("abc"))
	}
	f.Add(byte(slices.IndexFunc(Kinds, func(k Kind) bool { return k.Type == record.TypeInetSock })), uint16(9), marshal(&kept), file, marshal(&record.SockSent{Refs: record.InodeRef{Inode: 1}}), []byte("abc"))
	f.Fuzz(func(t *testing.T, which byte, fd uint16, inode, file, more, data []byte) {
		k := &Kinds[int(which)%len(Kinds)]
		recs := []*stream.Record{{Type: k.Type, Meta: inode}, {Type: record.TypeFile, Meta: file}}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		begin := time.Now()
		checkKind(t, k, recs, int(fd), more, data)
		took := time.Since(begin)
		runtime.ReadMemStats(&after)
		const most, longest = 16 << 20, 10 * time.Second // a machine may be busy
		if n := after.TotalAlloc - before.TotalAlloc; n > most+uint64(1000*(len(inode)+len(file)+len(more)+len(data))) || took > longest {
			t.Fatalf("%v of %d bytes takes %d bytes of memory and %v", k.Type, len(inode), n, took)
		}
	})
}

// fuzzed is a Restorer for a file that a task of user nobody has open.
func fuzzed(t *testing.T, paper bool) *Restorer {
	stdio, err := ParseStdio(nil)
	if err != nil {
		t.Fatal(err)
	}
	decided, err := ends.Parse([]string{"pipe:[5]=null"}, []string{"7=close"})
	if err != nil {
		t.Fatal(err)
	}
	u := &User{PID: 7, Comm: "x", Creds: &record.Creds{UID: []uint32{1, 1, 1, 65534}, GID: []uint32{1, 1, 1, 65534}}, Read: true, Write: true}
	return &Restorer{Restart: &object.Restart{Paper: paper, Depot: newDepot(t), Hash: objhash.New[object.Object](), Note: func(string, ...any) {}}, Stdio: stdio, Ends: decided, Root: 7,
		InTree: func(id int) bool { return id == 7 }, Elsewhere: func(uint64) bool { return false }, Users: map[uint64]*User{1: u},
		Lives: func(int) bool { return false }, Owns: func(uid, gid uint32) bool { return uid == gid }}
}

// inKernel are kinds that exist in kernel memory only, without a path.
var inKernel = []record.Type{record.TypePipe, record.TypeEventFD, record.TypeSignalFD, record.TypeTimerFD, record.TypeInotify, record.TypeEpoll,
	record.TypeIOUring, record.TypeUnixSock, record.TypeNetlink, record.TypeMemFD}

func checkKind(t *testing.T, k *Kind, recs []*stream.Record, fd int, more, data []byte) {
	fds := []record.FD{{TID: 7, FD: fd, Refs: record.FDRefs{File: 2}}}
	var o record.Object
	if recs[0].Decode(&o) != nil || recs[1].Decode(&record.File{}) != nil {
		return
	}
	judged := func(paper bool) (kinds *object.Set, errs []error) {
		r := fuzzed(t, paper)
		kinds, errs = object.NewSet(r.Hash, r.Kinds()), r.Decide(recs, fds)
		for _, rec := range recs {
			errs = append(errs, kinds.Check(rec)...)
		}
		return kinds, errs
	}
	_, _ = judged(false)
	paper, errs := judged(true)
	if len(errs) > 0 {
		return
	}
	if recs[0].Decode(record.Lookup(k.Type).New()) != nil {
		t.Fatalf("a %v that can't be decoded is good", k.Type)
	}
	if o.Objref == 0 || !slices.Contains(inKernel, k.Type) || !small(recs[0]) {
		return
	}
	defer paper.Hash.Close()
	for _, rec := range recs {
		if paper.Make(rec) != nil {
			return
		}
	}
	for _, t := range k.Data {
		_ = paper.Fill(&stream.Record{Type: t, Meta: more, DataLen: int64(len(data))}, bytes.NewReader(data))
	}
	_ = paper.Complete()
	_ = paper.Seal()
}

// small reports whether making the object takes little kernel memory.
func small(rec *stream.Record) bool {
	var s struct {
		Size     int64 `cbor:"size"`
		Capacity int64 `cbor:"capacity"`
		Huge     int64 `cbor:"huge_page"`
	}
	return rec.Decode(&s) == nil && s.Size <= 1<<20 && s.Capacity <= 1<<20 && s.Huge == 0
}
