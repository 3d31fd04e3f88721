package files

import (
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/testkit"
)

// TestEachOutside: what only a thread with a descriptor table of its own has open is found.
func TestEachOutside(t *testing.T) {
	link, over := make(chan string), make(chan bool)
	go testkit.Another(func() {
		if err := unix.Unshare(unix.CLONE_FILES); err != nil {
			t.Error(err)
		}
		var p [2]int
		if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
			t.Error(err)
		}
		name, err := os.Readlink(fmt.Sprintf("/proc/thread-self/fd/%d", p[0]))
		if err != nil {
			t.Error(err)
		}
		link <- name
		<-over
	})
	want := <-link
	defer close(over)
	c := &Collector{InTree: func(int) bool { return false }}
	ends := 0
	c.eachOutside(time.Hour, func(_, _ int, link string) {
		if link == want {
			ends++
		}
	})
	if ends != 2 {
		t.Errorf("%d ends of %s were found", ends, want)
	}
}
