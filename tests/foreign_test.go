package tests

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestForeignCode: a process that runs 32-bit code is refused by name, and none of its waits is
// cut short.
func TestForeignCode(t *testing.T) {
	t.Parallel()
	f := &feature{t: t, args: []string{buildC(t, "code32.c", "-m32", "-nostdlib", "-static", "-fno-pie", "-no-pie", "-fno-stack-protector")}}
	f.start()
	for i := range 30 {
		time.Sleep(time.Duration(i) * time.Millisecond) // it waits in another call each time
		out, err := exec.Command("ckpt-collect", "--dry-run", fmt.Sprint(f.pid)).CombinedOutput()
		if said := string(out); exitCode(err) != 3 || strings.Count(said, "error: ") != 1 || !strings.Contains(said, "runs 32-bit code, which can't be saved") {
			t.Fatalf("%v\n%s", err, said)
		}
	}
	if err := unharmed(f.pid); err != nil {
		t.Error(err)
	}
	f.proceed()
	for i := 0; f.output() == "ready\n" && i < 2000; i++ {
		time.Sleep(5 * time.Millisecond)
	}
	if got := f.output(); got != "ready\npass\n" {
		t.Errorf("it says:\n%s", got)
	}
}
