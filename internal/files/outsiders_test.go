package files

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestSearchEnds: the search is over in time also in the middle of a process that has much open.
func TestSearchEnds(t *testing.T) {
	for range 200 {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
	}
	c := &Collector{InTree: func(pid int) bool { return pid != os.Getpid() }}
	visited := 0
	left := c.eachOutside(200*time.Millisecond, func(int, int, string) {
		visited++
		time.Sleep(10 * time.Millisecond)
	})
	if left == 0 || visited == 0 || visited > 100 {
		t.Errorf("%d descriptors were visited, %d processes left", visited, left)
	}
}
