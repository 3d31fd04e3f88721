package proc

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// madvGuardInstall is MADV_GUARD_INSTALL of asm-generic/mman-common.h.
const madvGuardInstall = 102

// mapPages maps pages of anonymous memory, or of a file.
func mapPages(t *testing.T, fd, pages int) []byte {
	t.Helper()
	flags := unix.MAP_PRIVATE
	if fd < 0 {
		flags |= unix.MAP_ANONYMOUS
	}
	mem, err := unix.Mmap(fd, 0, pages*os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(mem) })
	return mem
}

func openPagemap(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// runs turns ranges into pairs of page numbers from mem's first on.
func runs(mem []byte, ranges []PageRange) [][2]uint64 {
	page, base := uint64(os.Getpagesize()), addressOf(mem)
	out := [][2]uint64{}
	for _, r := range ranges {
		out = append(out, [2]uint64{(r.Start - base) / page, (r.End - base) / page})
	}
	return out
}

// allModes scans mem in every way and checks that each finds the same.
func allModes(t *testing.T, mem []byte, want PageScan, expect [][2]uint64) {
	t.Helper()
	f, start := openPagemap(t), addressOf(mem)
	end := start + uint64(len(mem))
	for mode := scanIoctl; mode <= scanRead; mode++ {
		ranges, err := scanPages(f, start, end, want, mode)
		if mode < scanRead && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTTY)) {
			t.Logf("mode %d: not in this kernel", mode)
			continue
		}
		if err != nil {
			t.Fatalf("mode %d: %v", mode, err)
		}
		equal(t, []string{"ioctl", "plain ioctl", "read"}[mode], runs(mem, ranges), expect)
	}
	ranges, err := ScanPages(f, start, end, want)
	equal(t, "error", err, nil)
	equal(t, "ScanPages", runs(mem, ranges), expect)
}

func TestScanAnonymous(t *testing.T) {
	mem, page := mapPages(t, -1, 16), os.Getpagesize()
	for _, i := range []int{2, 3, 7, 15} { // written
		mem[i*page] = 1
	}
	sink := mem[4*page] + mem[6*page] + mem[9*page] // read: the zero page
	guard := madvise(t, mem[7*page:9*page], madvGuardInstall)
	if zeroPFN() == 0 {
		t.Skip("the frame of the zero page is not to be had")
	}
	content := [][2]uint64{{2, 4}, {7, 8}, {15, 16}}
	if guard { // takes page 7's content
		content = [][2]uint64{{2, 4}, {15, 16}}
		allModes(t, mem, GuardPages, [][2]uint64{{7, 9}})
	}
	allModes(t, mem, ContentPages, content)
	if sink != 0 {
		t.Error("untouched memory is not zero")
	}
}

// madvise reports whether the kernel knows the advice.
func madvise(t *testing.T, mem []byte, advice int) bool {
	t.Helper()
	err := unix.Madvise(mem, advice)
	if err != nil && err != unix.EINVAL {
		t.Fatal(err)
	}
	return err == nil
}

func TestScanPrivateFile(t *testing.T) {
	page := os.Getpagesize()
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, 8*page)); err != nil {
		t.Fatal(err)
	}
	mem := mapPages(t, int(f.Fd()), 8)
	sink := mem[0] + mem[3*page] + mem[5*page] // of the file
	mem[4*page] = sink + 1                     // copied on write
	allModes(t, mem, ContentPages, [][2]uint64{{4, 5}})
	allModes(t, mem, GuardPages, [][2]uint64{})
}

// TestScanMoreThanOneCall has more runs than one ioctl reports, and a buffer
// of entries more than once full.
func TestScanMoreThanOneCall(t *testing.T) {
	const pages = 5 * maxRegionsPerCall
	mem, page := mapPages(t, -1, pages), os.Getpagesize()
	madvise(t, mem, unix.MADV_NOHUGEPAGE)
	var want [][2]uint64
	for i := range pages {
		if i%2 == 1 || i > pages-100 {
			mem[i*page] = 1
		}
		if i%2 == 1 && i < pages-100 {
			want = append(want, [2]uint64{uint64(i), uint64(i + 1)})
		}
	}
	want = append(want, [2]uint64{pages - 99, pages})
	allModes(t, mem, ContentPages, want)
}

// TestScanHuge checks that a huge page is found whole, also by parts.
func TestScanHuge(t *testing.T) {
	const size = 2 << 20
	page := os.Getpagesize()
	mem := mapPages(t, -1, 2*size/page)
	skip := (size - int(addressOf(mem)%size)) % size
	huge := mem[skip : skip+size]
	madvise(t, huge, unix.MADV_HUGEPAGE)
	huge[0] = 1
	if e, err := ownEntry(huge[size-page:]); err != nil || e&entryPresent == 0 {
		t.Skip("no huge page given: ", err)
	}
	allModes(t, huge, ContentPages, [][2]uint64{{0, size / uint64(page)}})
	allModes(t, huge[3*page:5*page], ContentPages, [][2]uint64{{0, 2}})
}

// TestScanVast scans 100 GiB of reserved memory with three pages in it.
func TestScanVast(t *testing.T) {
	const size = 100 << 30
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		t.Skip(err)
	}
	defer unix.Munmap(mem)
	if err := unix.Madvise(mem, unix.MADV_NOHUGEPAGE); err != nil {
		t.Log(err)
	}
	page := uint64(os.Getpagesize())
	mem[0], mem[size/2], mem[size-1] = 1, 1, 1
	start := addressOf(mem)
	ranges, err := ScanPages(openPagemap(t), start, start+size, ContentPages)
	if err != nil {
		t.Fatal(err)
	}
	last := uint64(size) / page
	equal(t, "pages", runs(mem, ranges), [][2]uint64{{0, 1}, {last / 2, last/2 + 1}, {last - 1, last}})
}

func TestScanRefuses(t *testing.T) {
	f, page := openPagemap(t), uint64(os.Getpagesize())
	for _, r := range []PageRange{{1, page}, {0, page + 1}, {2 * page, page}} {
		if _, err := ScanPages(f, r.Start, r.End, ContentPages); !errors.Is(err, unix.EINVAL) {
			t.Errorf("%v: %v", r, err)
		}
	}
	if _, err := ScanPages(f, 0, page, 2); !errors.Is(err, unix.EINVAL) {
		t.Error(err)
	}
	if got, err := ScanPages(f, page, page, ContentPages); got != nil || err != nil {
		t.Error(got, err)
	}
	top := -page // the last page of all is not user space
	for mode := scanIoctl; mode <= scanRead; mode++ {
		if _, err := scanPages(f, top-page, top, ContentPages, mode); err == nil {
			t.Errorf("mode %d found pages of the kernel", mode)
		}
	}
}

// TestScanFallsBack gives ScanPages a file that knows no ioctl.
func TestScanFallsBack(t *testing.T) {
	page := uint64(os.Getpagesize())
	f, err := os.Create(filepath.Join(t.TempDir(), "pagemap"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	entries := make([]byte, 8*entryBytes)
	entries[1*entryBytes+7] = 1 << 6 // swapped
	entries[2*entryBytes+7] = 1 << 6
	entries[5*entryBytes+7] = 1<<6 | 1<<2 // guard
	entries[6*entryBytes+7] = 1<<7 | 1<<5 // of a file
	if _, err := f.Write(entries); err != nil {
		t.Fatal(err)
	}
	got, err := ScanPages(f, 0, 8*page, ContentPages)
	equal(t, "error", err, nil)
	equal(t, "content", got, []PageRange{{page, 3 * page}})
	got, err = ScanPages(f, 0, 8*page, GuardPages)
	equal(t, "error", err, nil)
	equal(t, "guard", got, []PageRange{{5 * page, 6 * page}})
	if _, err := ScanPages(f, 0, 9*page, ContentPages); !errors.Is(err, unix.ESRCH) {
		t.Error(err)
	}
}

func TestWantedEntry(t *testing.T) {
	const zero = 77
	for _, c := range []struct {
		entry          uint64
		content, guard bool
	}{
		{0, false, false},
		{entryPresent | 5, true, false},
		{entryPresent | zero, false, false},
		{entryPresent | entryFile | 5, false, false},
		{entrySwapped | zero, true, false},
		{entrySwapped | entryGuard, false, true},
		{entryPresent, true, false}, // frame not told
	} {
		equal(t, "content", wantedEntry(c.entry, ContentPages, zero), c.content)
		equal(t, "guard", wantedEntry(c.entry, GuardPages, zero), c.guard)
	}
	equal(t, "zero unknown", wantedEntry(entryPresent, ContentPages, 0), true)
}
