package image

import (
	"bytes"
	"testing"
)

// FuzzReader: whatever the input, no panic; what Reader takes, Verify takes, and packing it again gives an
// image that reads the same.
func FuzzReader(f *testing.F) {
	for _, img := range smallImages(f) {
		f.Add(img)
	}
	for _, frame := range hostileFrames() {
		if len(frame) < 1000 {
			f.Add(append(headerFrame(), frame...))
		}
	}
	f.Fuzz(func(t *testing.T, img []byte) {
		got, rerr := unpack(img, 1)
		verr := verify(img)
		if rerr != nil {
			return
		}
		if verr != nil {
			t.Fatalf("Reader takes it, Verify says %v", verr)
		}
		again, err := unpack(pack(t, WriterOptions{Level: 1}, got), 1)
		if err != nil || !bytes.Equal(again, got) {
			t.Fatalf("packed again: %v", err)
		}
	})
}
