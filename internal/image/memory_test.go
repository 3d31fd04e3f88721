package image

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"testing"
)

const (
	memoryBytes    = 512 << 20 // of stream, much more than a process may hold
	maxResidentKiB = 64 << 10
	memoryEnv      = "IMAGE_TEST_MEMORY" // set in the child: what to do
)

// TestMemory runs this test in a child for each direction, level and number of threads, and looks at the most
// memory the child ever had.
func TestMemory(t *testing.T) {
	if job := os.Getenv(memoryEnv); job != "" {
		memoryChild(t, job)
		return
	}
	if raceDetector() {
		t.Skip("the race detector multiplies memory: run it without -race")
	}
	img := filepath.Join(t.TempDir(), "img")
	for _, level := range []int{0, 1, 3, 9} {
		for _, threads := range []int{2, 4} {
			for _, what := range []string{"write", "read", "verify"} {
				job := fmt.Sprintf("%s %d %d %s", what, level, threads, img)
				cmd := exec.Command(os.Args[0], "-test.run=^TestMemory$")
				cmd.Env = append(os.Environ(), memoryEnv+"="+job)
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("%s: %v\n%s", job, err, out)
				}
				var peak int
				if _, err := fmt.Sscanf(string(out), "VmHWM: %d kB", &peak); err != nil {
					t.Fatalf("%s: %v\n%s", job, err, out)
				}
				t.Logf("%s: level %d, %d threads: peak %d MiB", what, level, threads, peak>>10)
				if peak > maxResidentKiB {
					t.Errorf("%s: level %d, %d threads: peak %d KiB", what, level, threads, peak)
				}
			}
		}
	}
}

// raceDetector says whether the test was built with -race.
func raceDetector() bool {
	info, _ := debug.ReadBuildInfo()
	for _, s := range info.Settings {
		if s.Key == "-race" && s.Value == "true" {
			return true
		}
	}
	return false
}

func memoryChild(t *testing.T, job string) {
	var what, path string
	var level, threads int
	if _, err := fmt.Sscan(job, &what, &level, &threads, &path); err != nil {
		t.Fatal(err)
	}
	flags := os.O_RDONLY
	if what == "write" {
		flags = os.O_RDWR | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	switch what {
	case "write":
		err = memoryWrite(f, WriterOptions{Level: level, Threads: threads})
	case "read":
		r := NewReader(f, ReaderOptions{Threads: threads})
		_, err = io.Copy(io.Discard, r)
	case "verify":
		size, _ := f.Seek(0, io.SeekEnd)
		err = Verify(f, size, threads)
	}
	if err != nil {
		t.Fatal(err)
	}
	printPeak(t)
}

// printPeak prints the most memory this program ever had. ru_maxrss would not do: a child's starts
// at its parent's value (fs/exec.c, setmax_mm_hiwater_rss).
func printPeak(t *testing.T) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := bytes.Cut(status, []byte("VmHWM:"))
	line, _, _ := bytes.Cut(after, []byte("\n"))
	fmt.Printf("VmHWM: %s\n", bytes.TrimSpace(line))
}

func memoryWrite(w io.Writer, opts WriterOptions) error {
	z, err := NewWriter(w, opts)
	if err != nil {
		return err
	}
	defer z.Abort()
	data := sample(chunkBytes - 1)
	for range memoryBytes / len(data) {
		if _, err := z.ReadFrom(bytes.NewReader(data)); err != nil {
			return err
		}
	}
	return z.Close()
}
