package proc

import (
	"os"
	"testing"
)

func TestFileNR(t *testing.T) {
	for s, want := range map[string][2]int64{"1024\t24\t9223372036854775807\n": {1000, 1<<63 - 1}, "1 0 2": {1, 2}} {
		if used, most, ok := parseFileNR(s); !ok || used != want[0] || most != want[1] {
			t.Errorf("%q: %d of %d, %v", s, used, most, ok)
		}
	}
	for _, s := range []string{"", "1 2", "1 2 3 4", "1 0 x", "1 0 9223372036854775808"} {
		if _, _, ok := parseFileNR(s); ok {
			t.Errorf("%q is taken", s)
		}
	}
	if used, most, err := FileNR(); err != nil || used <= 0 || most < used {
		t.Errorf("%d of %d, %v", used, most, err)
	}
}

func TestTasksOf(t *testing.T) {
	self, err := ReadStatus(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if n, err := TasksOf(self.Uid[0]); err != nil || n < 2 { // our own threads
		t.Errorf("%d tasks, %v", n, err)
	}
	if n, err := TasksOf(1<<32 - 2); err != nil || n != 0 {
		t.Errorf("%d tasks of nobody, %v", n, err)
	}
}
