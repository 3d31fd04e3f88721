package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// stormRounds is how long the storm lasts: some ten seconds undisturbed.
const stormRounds = 30_000

// TestStorm saves a program that forks and makes threads all the time, at random
// moments, and lets it run on, or kills and restores it: no task is lost.
func TestStorm(t *testing.T) {
	f := &feature{t: t, args: []string{buildC(t, "storm.c"), fmt.Sprint(stormRounds)}}
	f.start()
	done := func() bool { return strings.Contains(f.output(), "sum") }
	saved, rng := 0, random(t)
	for i := 0; i < 40 && !done(); i++ {
		moment(rng, 0, 30*time.Millisecond)
		f.shell(fmt.Sprintf("ckpt-collect --leave running %d | ckpt-dedup | ckpt-write > img", f.pid))
		saved++
		if i%4 != 3 || done() {
			continue
		}
		f.shell(fmt.Sprintf("ckpt-collect --leave killed %d | ckpt-dedup | ckpt-write > img", f.pid))
		f.shell("ckpt-read < img | ckpt-apply --detach")
	}
	for begin := time.Now(); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Since(begin) > time.Minute {
			t.Fatalf("it does not end; it says:\n%s", f.output())
		}
	}
	if want := fmt.Sprintf("ready\nsum %d %[1]d %[1]d %[1]d, 0 bad\n", 2*stormRounds); f.output() != want {
		t.Errorf("it says:\n%s", f.output())
	}
	t.Logf("saved %d times", saved)
}

// cyclePrograms take some ten seconds undisturbed.
var cyclePrograms = map[string]struct {
	file, text string
	prepare    []string
	run        []string
}{
	"pool": {"pool.py", `
import multiprocessing

def f(n):
    s = n
    for i in range(600000):
        s = (s * 31 + i) % 1000003
    return s

if __name__ == "__main__":
    with multiprocessing.Pool(4) as pool:
        for s in pool.imap(f, range(240)):
            print(s, flush=True)
    print("end", flush=True)
`, nil, []string{"/usr/bin/python3", "pool.py"}},
	"java": {"Cycles.java", `
public class Cycles {
    static long[] sums = new long[4];

    public static void main(String[] args) throws Exception {
        for (int round = 0; round < 40; round++) {
            Thread[] threads = new Thread[4];
            for (int k = 0; k < 4; k++) {
                final int n = k;
                threads[k] = new Thread(() -> {
                    long x = sums[n] + n;
                    for (int i = 0; i < 80_000_000; i++)
                        x = x * 6364136223846793005L + i;
                    sums[n] = x;
                });
                threads[k].start();
            }
            for (Thread t : threads)
                t.join();
            System.out.println(sums[0] ^ sums[1] ^ sums[2] ^ sums[3]);
        }
        System.out.println("end");
    }
}
`, []string{"javac", "Cycles.java"}, []string{"java", "-Xmx128m", "Cycles"}},
}

// TestTenCycles saves, kills and restores programs with many tasks ten times in a
// row, each time the tree that the last restore made.
func TestTenCycles(t *testing.T) {
	for name, p := range cyclePrograms {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, p.file), []byte(p.text), 0o644); err != nil {
				t.Fatal(err)
			}
			command := func(args []string) *exec.Cmd {
				cmd := exec.Command(args[0], args[1:]...)
				cmd.Dir = dir
				return cmd
			}
			if p.prepare != nil {
				if out, err := command(p.prepare).CombinedOutput(); err != nil {
					t.Fatalf("%v: %v\n%s", p.prepare, err, out)
				}
			}
			path, err := exec.LookPath(p.run[0])
			if err != nil {
				t.Fatal(err)
			}
			p.run[0] = path
			want, err := command(p.run).Output()
			if err != nil {
				t.Fatal(err)
			}
			f := &feature{t: t, dir: dir, args: p.run}
			f.start()
			rng := random(t)
			for cycle := range 10 {
				moment(rng, 100*time.Millisecond, 400*time.Millisecond)
				if strings.HasSuffix(f.output(), "end\n") {
					t.Fatalf("it had its end before cycle %d", cycle+1)
				}
				f.shell(fmt.Sprintf("ckpt-collect --leave killed %d | ckpt-dedup | ckpt-write > img", f.pid))
				f.shell("ckpt-read < img | ckpt-apply --detach")
			}
			for begin := time.Now(); !strings.HasSuffix(f.output(), "end\n"); time.Sleep(20 * time.Millisecond) {
				if time.Since(begin) > 2*time.Minute {
					t.Fatalf("it does not end; it says:\n%s", f.output())
				}
			}
			if f.output() != string(want) {
				t.Errorf("it says:\n%s\nwant\n%s", f.output(), want)
			}
		})
	}
}
