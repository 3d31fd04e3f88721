package image

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
)

const benchBytes = 64 << 20

func BenchmarkWrite(b *testing.B) {
	data := sample(benchBytes)
	for _, level := range []int{0, 1, 3, 6} {
		for _, threads := range []int{1, 2} {
			b.Run(fmt.Sprintf("level=%d/threads=%d", level, threads), func(b *testing.B) {
				b.SetBytes(benchBytes)
				b.ReportAllocs()
				var size int64
				for b.Loop() {
					z, err := NewWriter(io.Discard, WriterOptions{Level: level, Threads: threads})
					if err != nil {
						b.Fatal(err)
					}
					if _, err := z.ReadFrom(bytes.NewReader(data)); err != nil {
						b.Fatal(err)
					}
					if err := z.Close(); err != nil {
						b.Fatal(err)
					}
					size = z.Written()
				}
				b.ReportMetric(100*float64(size)/benchBytes, "%size")
			})
		}
	}
}

func BenchmarkRead(b *testing.B) {
	data := sample(benchBytes)
	for _, level := range []int{0, 1, 3} {
		img := pack(b, WriterOptions{Level: level}, data)
		for _, threads := range []int{1, 2} {
			b.Run(fmt.Sprintf("level=%d/threads=%d", level, threads), func(b *testing.B) {
				b.SetBytes(benchBytes)
				for b.Loop() {
					r := NewReader(bytes.NewReader(img), ReaderOptions{Threads: threads})
					if _, err := r.WriteTo(io.Discard); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkVerify counts bytes of the image, in the page cache.
func BenchmarkVerify(b *testing.B) {
	data := sample(4 * benchBytes)
	for _, level := range []int{0, 1} {
		img := pack(b, WriterOptions{Level: level}, data)
		path := filepath.Join(b.TempDir(), "img")
		if err := os.WriteFile(path, img, 0o600); err != nil {
			b.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		for _, threads := range []int{1, 2} {
			b.Run(fmt.Sprintf("level=%d/threads=%d", level, threads), func(b *testing.B) {
				b.SetBytes(int64(len(img)))
				for b.Loop() {
					if err := Verify(f, int64(len(img)), threads); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
