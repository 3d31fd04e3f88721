package proc

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Bits of an entry of /proc/PID/pagemap (admin-guide/mm/pagemap.rst). For
// guard pages bits 58 and 62 are set; before kernel 6.15 only the latter.
const (
	entryPresent = 1 << 63
	entrySwapped = 1 << 62
	entryFile    = 1 << 61 // file page, or shared anonymous
	entryGuard   = 1 << 58
	entryPFN     = 1<<55 - 1 // frame of a present page; 0 without CAP_SYS_ADMIN

	entryBytes = 8
	// entriesPerRead bounds the buffer: 16384 entries, 64 MiB of small pages.
	entriesPerRead = 16384
)

// readPages appends the wanted pages of a range to out by their entries.
func readPages(out []PageRange, pagemap *os.File, start, end uint64, want PageScan) ([]PageRange, error) {
	page := uint64(os.Getpagesize())
	buf := make([]byte, entryBytes*min((end-start)/page, entriesPerRead))
	zero := zeroPFN()
	for start < end {
		part := buf[:min(uint64(len(buf)), (end-start)/page*entryBytes)]
		n, err := pagemap.ReadAt(part, int64(start/page*entryBytes))
		if n < len(part) {
			if err == io.EOF {
				return nil, fmt.Errorf("pagemap ends before %#x, for the process or that range is gone: %w", end, unix.ESRCH)
			}
			return nil, err
		}
		for ; len(part) > 0; part = part[entryBytes:] {
			if wantedEntry(binary.NativeEndian.Uint64(part), want, zero) {
				out = addRange(out, start, start+page)
			}
			start += page
		}
	}
	return out, nil
}

// wantedEntry judges one entry. zero is the frame of the zero page, 0 if unknown.
func wantedEntry(e uint64, want PageScan, zero uint64) bool {
	switch {
	case want == GuardPages:
		return e&entryGuard != 0
	case e&(entryPresent|entrySwapped) == 0 || e&(entryFile|entryGuard) != 0:
		return false
	}
	return e&entryPresent == 0 || zero == 0 || e&entryPFN != zero
}

// zeroPFN is the frame of the kernel's zero page. It is found in the only way there
// is: as the frame of an own page that was read but never written. 0 if the
// kernel doesn't tell, that is without CAP_SYS_ADMIN. (mips and s390 have
// several zero pages; of those one is known.)
var zeroPFN = sync.OnceValue(func() uint64 {
	mem, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return 0
	}
	defer unix.Munmap(mem)
	e, err := ownEntry(mem)
	if err != nil || e&entryPresent == 0 || e&entryFile != 0 {
		return 0
	}
	return e & entryPFN
})

// ownEntry reads the entry of a page of this process, after a read of the page.
func ownEntry(mem []byte) (uint64, error) {
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	buf := make([]byte, entryBytes)
	copy(buf, mem) // brings the page in
	at := addressOf(mem) / uint64(os.Getpagesize()) * entryBytes
	if _, err := f.ReadAt(buf, int64(at)); err != nil {
		return 0, err
	}
	return binary.NativeEndian.Uint64(buf), nil
}

// SamePages compares a range of two address spaces page by page and calls found
// for each run of pages that are the same page in both (one frame or one swap
// slot), or are not. Without CAP_SYS_ADMIN none are known to be the same.
func SamePages(a, b *os.File, start, end uint64, found func(start, end uint64, same bool)) error {
	page := uint64(os.Getpagesize())
	size := entryBytes * min((end-start)/page, entriesPerRead)
	bufA, bufB := make([]byte, size), make([]byte, size)
	from, state := start, false
	for at := start; at < end; {
		n := min(size, (end-at)/page*entryBytes)
		for _, x := range []struct {
			f   *os.File
			buf []byte
		}{{a, bufA[:n]}, {b, bufB[:n]}} {
			if k, err := x.f.ReadAt(x.buf, int64(at/page*entryBytes)); k < len(x.buf) {
				if err == io.EOF {
					err = unix.ESRCH
				}
				return err
			}
		}
		for i := uint64(0); i < n; i += entryBytes {
			same := sameEntry(binary.NativeEndian.Uint64(bufA[i:]), binary.NativeEndian.Uint64(bufB[i:]))
			if same != state && at > from {
				found(from, at, state)
				from = at
			}
			state = same
			at += page
		}
	}
	if end > from {
		found(from, end, state)
	}
	return nil
}

// sameEntry reports whether two entries are of one page. Bits below 55 are the
// frame or the swap slot.
func sameEntry(a, b uint64) bool {
	const where = entryPresent | entrySwapped | entryFile | entryPFN
	return a&where == b&where && a&(entryPresent|entrySwapped) != 0 && a&entryPFN != 0
}
