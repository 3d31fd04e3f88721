package proc

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// PageRange is a run of pages from Start up to, not including, End.
type PageRange struct{ Start, End uint64 }

// PageScan says which pages ScanPages is to find.
type PageScan int

const (
	// ContentPages are those of private mappings with content that neither the
	// mapped file nor the zero page has.
	//
	// More may be found, never less: where the kernel shows entries without
	// content (uffd-wp markers, poison) as swapped; the huge zero page,
	// which only some kernels count as the zero page; guard pages of kernels
	// 6.13 and 6.14, which look swapped and can't be read (EFAULT); and zero
	// pages where PAGEMAP_SCAN is missing and the reader lacks CAP_SYS_ADMIN.
	ContentPages PageScan = iota
	// GuardPages are those MADV_GUARD_INSTALL made (madvise(2)). Kernels 6.13
	// and 6.14 have such pages but don't show them.
	GuardPages
)

// maxRegionsPerCall bounds the buffer of one ioctl: 24 bytes each.
const maxRegionsPerCall = 4096

// scanMode is a way to find pages.
type scanMode int

const (
	scanIoctl      scanMode = iota // PAGEMAP_SCAN with the category GUARD
	scanIoctlPlain                 // without it: swapped pages are looked at one by one
	scanRead                       // reading pagemap entries
)

// ScanPages finds pages in the range from start to end of an address space, of
// which pagemap is the open /proc/PID/pagemap. The ranges ascend, don't touch, and
// are as long as possible. Unmapped memory and pages of devices have no content.
// The range must lie in user space, which [vsyscall] does not.
func ScanPages(pagemap *os.File, start, end uint64, want PageScan) ([]PageRange, error) {
	if err := checkScan(start, end, want); err != nil {
		return nil, err
	}
	var ranges []PageRange
	var err error
	for mode := scanIoctl; mode <= scanRead; mode++ {
		ranges, err = scanPages(pagemap, start, end, want, mode)
		if !errors.Is(err, unix.ENOTTY) && !errors.Is(err, unix.EINVAL) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("scan pages %#x-%#x: %w", start, end, err)
	}
	return ranges, nil
}

// checkScan refuses what the kernel would refuse, so that EINVAL means only that
// the kernel is too old.
func checkScan(start, end uint64, want PageScan) error {
	mask := uint64(os.Getpagesize()) - 1
	if start > end || start&mask != 0 || end&mask != 0 || want != ContentPages && want != GuardPages {
		return fmt.Errorf("scan pages %#x-%#x for %d: %w", start, end, want, unix.EINVAL)
	}
	return nil
}

func scanPages(pagemap *os.File, start, end uint64, want PageScan, mode scanMode) ([]PageRange, error) {
	if start == end {
		return nil, nil
	}
	if mode == scanRead {
		return readPages(nil, pagemap, start, end, want)
	}
	pages := (end - start) / uint64(os.Getpagesize())
	regions := make([]pageRegion, min(pages, maxRegionsPerCall))
	arg := scanArg(want, mode)
	var out []PageRange
	for start < end {
		arg.start, arg.end = start, end
		n, err := ioctlPagemapScan(pagemap, &arg, regions)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		if out, err = addRegions(out, pagemap, regions[:n], want); err != nil {
			return nil, err
		}
		next := walkedTo(&arg, regions[:n])
		if next <= start || next > end {
			return nil, fmt.Errorf("the kernel stopped at %#x: %w", next, ErrFormat)
		}
		start = next
	}
	return out, nil
}

// walkedTo is where the next call has to begin. The kernel collects 512 regions
// at a time. After the last of several such rounds it leaves walk_end as the
// round before had set it (fs/proc/task_mmu.c do_pagemap_scan, seen in 6.18):
// the regions above it would be reported twice.
func walkedTo(arg *pmScanArg, regions []pageRegion) uint64 {
	if n := len(regions); n > 0 {
		return max(arg.walkEnd, regions[n-1].end)
	}
	return arg.walkEnd
}

// scanArg says which pages the kernel is to report. A page's categories are
// first inverted by category_inverted; then all of the mask and one of anyof
// must be there. Only categories in return_mask tell regions apart.
func scanArg(want PageScan, mode scanMode) pmScanArg {
	const none = pageIsFile | pageIsPFNZero
	switch {
	case mode == scanIoctl && want == GuardPages:
		return pmScanArg{categoryMask: pageIsGuard, returnMask: pageIsGuard}
	case mode == scanIoctl:
		return pmScanArg{
			categoryInverted:  none | pageIsGuard,
			categoryMask:      none | pageIsGuard,
			categoryAnyofMask: pageIsPresent | pageIsSwapped,
			returnMask:        pageIsGuard,
		}
	case want == GuardPages:
		return pmScanArg{categoryMask: pageIsSwapped, returnMask: pageIsSwapped}
	}
	return pmScanArg{
		categoryInverted:  none,
		categoryMask:      none,
		categoryAnyofMask: pageIsPresent | pageIsSwapped,
		returnMask:        pageIsSwapped,
	}
}

// addRegions appends what the kernel found. Where it could not tell swapped pages
// from guard pages, the entries of pagemap can.
func addRegions(out []PageRange, pagemap *os.File, regions []pageRegion, want PageScan) ([]PageRange, error) {
	var err error
	for _, r := range regions {
		if r.categories&pageIsSwapped == 0 {
			out = addRange(out, r.start, r.end)
			continue
		}
		if out, err = readPages(out, pagemap, r.start, r.end, want); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// addRange appends a range, or makes the last one longer if it ends there.
func addRange(out []PageRange, start, end uint64) []PageRange {
	if n := len(out); n > 0 && out[n-1].End == start {
		out[n-1].End = end
		return out
	}
	return append(out, PageRange{start, end})
}
