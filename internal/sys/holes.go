package sys

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// EachPart calls do for the parts of a file that are not holes, in order, each of at most that
// many bytes, see SEEK_DATA of lseek(2). do may move the file's position.
func EachPart(f *os.File, most int64, do func(at, n int64) error) error {
	for at := int64(0); ; {
		start, err := f.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
		if err != nil {
			return err
		}
		end, err := f.Seek(start, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		for at = start; at < end; {
			n := min(end-at, most)
			if err := do(at, n); err != nil {
				return err
			}
			at += n
		}
	}
}
