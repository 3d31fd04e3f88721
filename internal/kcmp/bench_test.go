package kcmp

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// entry is one descriptor of a benchmark.
type entry struct {
	genid uint32
	h     Handle
}

var benchCases = []struct {
	name   string
	shared bool // every second descriptor is a dup
	genid  func(object int) uint32
}{
	{"distinct genids", false, func(o int) uint32 { return uint32(scramble(uint64(o)) >> 32) }},
	{"one genid", false, func(int) uint32 { return 0 }},
	{"half shared", true, func(o int) uint32 { return uint32(scramble(uint64(o)) >> 32) }},
}

var benchSizes = []int{10, 1_000, 100_000}

// BenchmarkFake is the tree alone, a comparison costing next to nothing.
func BenchmarkFake(b *testing.B) {
	for _, c := range benchCases {
		for _, n := range benchSizes {
			b.Run(fmt.Sprintf("%s/%d", c.name, n), func(b *testing.B) {
				var list []entry
				for i := range n {
					o := i
					if c.shared {
						o = i / 2
					}
					list = append(list, entry{c.genid(o), Handle{1, uint64(o)}})
				}
				run(b, list, &fake{object: byIdx, rank: scramble})
			})
		}
	}
}

// BenchmarkKernel is the tree with kcmp(2) on descriptors of children.
func BenchmarkKernel(b *testing.B) {
	needKernel(b)
	for _, c := range benchCases {
		for _, n := range benchSizes {
			b.Run(fmt.Sprintf("%s/%d", c.name, n), func(b *testing.B) {
				var list []entry
				for len(list) < n {
					list = append(list, inherit(b, len(list), min(n-len(list), maxPerChild), c.shared, c.genid)...)
				}
				run(b, list, Kernel{})
			})
		}
	}
}

// maxPerChild is even, so that a dup is in the same child, and below the usual
// limits of open files.
const maxPerChild = 10_000

// inherit starts a child with n descriptors, those from number first on.
func inherit(b *testing.B, first, n int, shared bool, genid func(int) uint32) (list []entry) {
	b.Helper()
	var files []*os.File
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	for i := range n {
		var fd int
		var err error
		if shared && i%2 == 1 {
			fd, err = unix.FcntlInt(files[i-1].Fd(), unix.F_DUPFD_CLOEXEC, 0)
		} else {
			fd, err = unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		if err != nil {
			b.Fatal(err)
		}
		files = append(files, os.NewFile(uintptr(fd), os.DevNull))
	}
	pid := sleeper(b, files...)
	for i := range n {
		o := first + i
		if shared {
			o /= 2
		}
		list = append(list, entry{genid(o), Handle{pid, uint64(3 + i)}})
	}
	return list
}

func run(b *testing.B, list []entry, cmp Comparer) {
	b.ReportAllocs()
	var stats Stats
	for b.Loop() {
		tree, next := NewTree(File, cmp), counter()
		for _, e := range list {
			if _, _, err := tree.Insert(e.genid, e.h, next); err != nil {
				b.Fatal(err)
			}
		}
		stats = tree.Stats()
	}
	n := float64(len(list))
	b.ReportMetric(float64(stats.Calls)/n, "calls/descriptor")
	b.ReportMetric(float64(stats.Objects)/n, "objects/descriptor")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/descriptor")
}
