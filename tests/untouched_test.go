package tests

import (
	"fmt"
	"os/exec"
	"testing"
	"time"
)

// TestUntouched kills ckpt-collect at random moments. The target itself puts back
// what ckpt-collect had changed in it and could not put back any more.
func TestUntouched(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"tight", "peek", "room"} {
		t.Run(what, func(t *testing.T) {
			f := &feature{t: t, args: []string{buildC(t, "untouched.c"), what}}
			f.start()
			killed, rng := 0, random(t)
			for range 12 * killRepetitions {
				cmd := exec.Command("ckpt-collect", "--hold-timeout", "1ms", fmt.Sprint(f.pid))
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				moment(rng, 0, 25*time.Millisecond)
				_ = cmd.Process.Kill()
				if cmd.Wait() != nil {
					killed++
				}
				if f.output() != "ready\n" {
					break
				}
			}
			if killed == 0 {
				t.Error("ckpt-collect was never caught at work")
			}
			if err := unharmed(f.pid); err != nil {
				t.Fatalf("%v, and it says: %s", err, f.output())
			}
			f.shell(fmt.Sprintf("ckpt-collect %d > raw", f.pid))
			f.proceed()
			for range 12000 {
				if f.output() != "ready\n" {
					break
				}
				time.Sleep(5 * time.Millisecond)
			}
			if got := f.output(); got != "ready\npass\n" {
				t.Errorf("it says:\n%s", got)
			}
			t.Logf("killed at work %d times of %d", killed, 12*killRepetitions)
		})
	}
}
