package proc

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func FuzzParseMounts(f *testing.F) {
	f.Add([]byte("36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n"))
	f.Add([]byte("1 1 0:20 / /a\\040b\\134 rw - fuse.x x\\ rw,user_id=0\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := ParseMounts(b)
		if err != nil {
			return
		}
		if lines := len(slices.DeleteFunc(bytes.Split(b, []byte("\n")), func(l []byte) bool { return len(l) == 0 })); len(all) != lines {
			t.Fatalf("%d mounts in %d lines", len(all), lines)
		}
		for _, m := range all {
			if len(m.Options) == 0 || unix.Mkdev(unix.Major(m.Dev), unix.Minor(m.Dev)) != m.Dev {
				t.Fatalf("%+v", m)
			}
		}
	})
}

// FuzzParseSystem covers what is said of the system and of its namespaces.
func FuzzParseSystem(f *testing.F) {
	f.Add([]byte("7f0000000000 default anon=1 N0=1\n7f0000001000 bind:0-1 file=/x\n"))
	f.Add([]byte("monotonic  -5 999999999\nboottime 9223372035 0\n"))
	f.Add([]byte("       key      semid perms      nsems\n  -1  5 600 3 0 0\n"))
	f.Add([]byte("1024\t0\t9223372036854775807\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if placed, err := ParsePlaced(b); err == nil && len(placed) > bytes.Count(b, []byte("\n"))+1 {
			t.Fatalf("%d mappings", len(placed))
		}
		if o, err := ParseTimeOffsets(b); err == nil {
			again, err := ParseTimeOffsets([]byte(offsetLine("monotonic", o.Monotonic) + offsetLine("boottime", o.Boottime)))
			if err != nil || again != o {
				t.Fatalf("%+v became %+v, %v", o, again, err)
			}
		}
		_, _ = parseSems(b)
		for kind := range sysvIDs {
			_, _ = parseSysVIPC(kind, b)
		}
		if used, most, ok := parseFileNR(string(b)); !ok && used|most != 0 {
			t.Fatalf("%d of %d", used, most)
		}
		_, _ = ParseChildren(b)
		_ = unescapeOctal(string(b))
		_ = unescapePath(string(b))
		_ = unescapeComm(string(b))
	})
}

// FuzzFDEvents: what is open in an eventfd, a signalfd, a timerfd, a pidfd, an inotify, an epoll or an io_uring.
func FuzzFDEvents(f *testing.F) {
	seed(f, "fdinfo-e*")
	seed(f, "fdinfo-s*")
	seed(f, "fdinfo-t*")
	seed(f, "fdinfo-p*")
	seed(f, "fdinfo-i*")
	seed(f, "fdinfo-u*")
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := ParseFDInfo(b)
		if err != nil {
			return
		}
		_, _ = info.EventFD()
		_, _ = info.SignalMask()
		_, _ = info.PidFD()
		_, _ = info.Uring()
		if watches, err := info.InotifyWatches(); err == nil && len(watches) > len(b)/8 {
			t.Fatalf("%d watches in %d bytes", len(watches), len(b))
		}
		if timer, err := info.TimerFD(); err == nil && (timer.Left < 0 || timer.Interval < 0) {
			t.Fatalf("%+v", timer)
		}
		targets, err := info.EpollTargets()
		if err == nil && len(targets) > len(b)/8 {
			t.Fatalf("%d targets in %d bytes", len(targets), len(b))
		}
	})
}

// FuzzPagemap: pages are found by entries of any kind, as one look at each would.
func FuzzPagemap(f *testing.F) {
	entry := func(bits ...uint64) (b []byte) {
		for _, e := range bits {
			b = binary.NativeEndian.AppendUint64(b, e)
		}
		return b
	}
	f.Add(entry(entryPresent|5, entrySwapped, entryFile|entryPresent, entryGuard|entrySwapped, 0, entryPresent|5), entry(entryPresent|5, 1<<63))
	f.Add([]byte{}, []byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		page := uint64(os.Getpagesize())
		dir := t.TempDir()
		var maps [2]*os.File
		n := min(len(a), len(b)) / entryBytes
		for i, text := range [][]byte{a, b} {
			name := filepath.Join(dir, string(rune('a'+i)))
			if err := os.WriteFile(name, text, 0o600); err != nil {
				t.Fatal(err)
			}
			maps[i], _ = os.Open(name)
			defer maps[i].Close()
		}
		at := func(text []byte, i int) uint64 { return binary.NativeEndian.Uint64(text[entryBytes*i:]) }
		for _, want := range []PageScan{ContentPages, GuardPages} {
			got, err := readPages(nil, maps[0], 0, uint64(n)*page, want)
			if err != nil {
				t.Fatal(err)
			}
			for i := range n {
				found := slices.ContainsFunc(got, func(r PageRange) bool { return r.Start <= uint64(i)*page && uint64(i)*page < r.End })
				if found != wantedEntry(at(a, i), want, zeroPFN()) {
					t.Fatalf("page %d with entry %x is found: %v", i, at(a, i), found)
				}
			}
			for i := 1; i < len(got); i++ {
				if got[i].Start <= got[i-1].End {
					t.Fatalf("%x is behind %x", got[i], got[i-1])
				}
			}
		}
		last := uint64(0)
		err := SamePages(maps[0], maps[1], 0, uint64(n)*page, func(start, end uint64, same bool) {
			if start != last || end <= start {
				t.Fatalf("%x-%x is behind %x", start, end, last)
			}
			for i := start / page; i < end/page; i++ {
				if same != sameEntry(at(a, int(i)), at(b, int(i))) {
					t.Fatalf("page %d is the same: %v", i, same)
				}
			}
			last = end
		})
		if err != nil || last != uint64(n)*page {
			t.Fatalf("up to %x of %x: %v", last, uint64(n)*page, err)
		}
		if _, err := readPages(nil, maps[0], 0, (uint64(len(a))/entryBytes+1)*page, ContentPages); err == nil {
			t.Fatal("pages behind the end are found")
		}
	})
}

// TestOffsetLines: offsets of time namespaces and their text are each other's
// inverse at the borders, too.
func TestOffsetLines(t *testing.T) {
	const most = 1<<63/1_000_000_000 - 1
	for _, d := range []time.Duration{0, 1, -1, time.Second - 1, -time.Second, -time.Second - 1, most * time.Second, -most * time.Second} {
		o, err := ParseTimeOffsets([]byte(offsetLine("monotonic", d)))
		if err != nil || o.Monotonic != d {
			t.Errorf("%d became %d, %v", d, o.Monotonic, err)
		}
	}
}
