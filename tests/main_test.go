package tests

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// binDir has the programs under test, built once, and goDir the go command.
var binDir, goDir string

func TestMain(m *testing.M) {
	os.Exit(inOwnNamespaces(func() int { return run(m) }))
}

func run(m *testing.M) int {
	dir, temp, err := makeFolders()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(filepath.Dir(dir))
	binDir = dir
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		fmt.Fprintf(os.Stderr, "go env GOROOT: %v\n", err)
		return 1
	}
	goDir = filepath.Join(strings.TrimSpace(string(root)), "bin")
	build := exec.Command("go", "build", "-trimpath", "-tags", "urfave_cli_no_docs", "-o", dir, "ckpt/cmd/...")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the tools: %v\n%s", err, out)
		return 1
	}
	os.Setenv("PATH", dir+":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	// What starts the tests may have left descriptors open, which the programs
	// under test are not to inherit.
	if err := unix.CloseRange(3, 1<<32-1, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	before := see(temp)
	status := m.Run()
	if left := before.leaks(10 * time.Second); len(left) > 0 {
		fmt.Fprintf(os.Stderr, "the tests have left behind:\n%s\n", strings.Join(left, "\n"))
		status = max(status, 1)
	}
	return status
}

// makeFolders makes one for the programs and one for all temporary files of the
// tests, which others than root get into, too.
func makeFolders() (bin, temp string, err error) {
	dir, err := os.MkdirTemp("", "ckpt-tests-")
	bin, temp = filepath.Join(dir, "bin"), filepath.Join(dir, "tmp")
	err = errors.Join(err, os.Chmod(dir, 0o755), os.Mkdir(bin, 0o755), os.Mkdir(temp, 0o755), os.Chmod(temp, 0o777|os.ModeSticky))
	return bin, temp, errors.Join(err, os.Setenv("TMPDIR", temp))
}

// scripts runs the scripts that match a pattern of testdata.
func scripts(t *testing.T, pattern string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts match %s (%v)", pattern, err)
	}
	t.Logf("-seed %d", runSeed())
	testscript.Run(t, testscript.Params{
		Files:       files,
		WorkdirRoot: t.TempDir(), // which is removed also if not all of them run
		Setup: func(env *testscript.Env) error {
			// The scripts' programs must be Debian's, whatever else is installed.
			env.Setenv("PATH", os.Getenv("PATH"))
			env.Setenv("LC_ALL", "C.UTF-8")
			env.Setenv("PID", "0")
			env.Values[targetsKey] = &targets{rng: random(t, filepath.Base(env.WorkDir))}
			env.Defer(func() { env.Values[targetsKey].(*targets).killAll() })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"start":     cmdStart,
			"reference": cmdReference,
			"moment":    cmdMoment,
			"settled":   cmdSettled,
			"alive":     cmdAlive,
			"gen":       cmdGen,
			"ended":     cmdEnded,
			"expect":    cmdExpect,

			"startpiped": cmdStartPiped,
			"stderr_has": cmdStderrHas,
			"stdout_is":  cmdStdoutIs,
			"errors":     cmdErrors,
		},
	})
}

// TestPrograms stops programs that were not written for it at random moments of
// their work, four times each, kills and restores them, and compares what they wrote
// in the end with an uninterrupted run.
func TestPrograms(t *testing.T) {
	for round := range 4 {
		t.Run(fmt.Sprintf("moment-%d", round+1), func(t *testing.T) { scripts(t, "programs/*.txt") })
	}
}

// TestServers does the same, three times, with servers and their clients in one tree.
func TestServers(t *testing.T) {
	for round := range 3 {
		t.Run(fmt.Sprintf("moment-%d", round+1), func(t *testing.T) { scripts(t, "servers/*.txt") })
	}
}

// TestScripts runs everything else that is written as a script.
func TestScripts(t *testing.T) { scripts(t, "scripts/*.txt") }
