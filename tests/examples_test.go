package tests

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"golang.org/x/sys/unix"
)

// What a part of a scene is. The reason why an example is not run follows the
// colon.
const (
	partRun    = "run"     // commands of the scene's own
	partShown  = "example" // a block of the page, run as it is printed
	partNotRun = "not run:"
	partFigure = "figure" // a block that is no command
)

// exampleTime bounds the examples of a page.
const exampleTime = 15 * time.Minute

// TestExamples runs every block of commands of every page, as it is printed, at a
// terminal. A page's scene in testdata/examples makes what the commands name exist,
// and has all blocks of the page, in the order in which they are run. A line that is
// only in the page or only in its scene is an error.
func TestExamples(t *testing.T) {
	scenes := map[string]bool{}
	for _, page := range pages(t) {
		text, err := os.ReadFile(filepath.Join("..", page))
		if err != nil {
			t.Fatal(err)
		}
		shown := blocks(string(text))
		name := filepath.Join("testdata", "examples", strings.ReplaceAll(page, "/", "_")+".txtar")
		scenes[name] = true
		scene, err := txtar.ParseFile(name)
		if errors.Is(err, fs.ErrNotExist) && len(shown) == 0 {
			continue
		}
		if err != nil {
			t.Errorf("%s has examples: %v", page, err)
			continue
		}
		t.Run(strings.TrimSuffix(strings.ReplaceAll(page, "/", "_"), ".md"), func(t *testing.T) {
			t.Parallel()
			compareBlocks(t, page, shown, scene)
			if script := sceneScript(t, scene); !t.Failed() && script != "" {
				playScene(t, script)
			}
		})
	}
	files, _ := filepath.Glob("testdata/examples/*.txtar")
	for _, f := range files {
		if !scenes[f] {
			t.Errorf("%s is of no page", f)
		}
	}
}

// pages lists the pages of the project.
func pages(t *testing.T) (list []string) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "bin"):
			return fs.SkipDir
		case strings.HasSuffix(path, ".md"):
			list = append(list, strings.TrimPrefix(path, "../"))
		case strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go"):
			// A comment that shows commands must be one of the pages.
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if m := regexp.MustCompile(`(?m)^//\t(\$ )?(ckpt-[a-z]+|zstd|make|go) .*$`).Find(text); m != nil {
				t.Errorf("%s shows a command, which nothing runs: %s", path, m)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// blocks returns the blocks of a page that stand apart, indented or fenced.
func blocks(text string) (list []string) {
	var block []string
	fenced := false
	end := func() {
		if b := strings.TrimSpace(strings.Join(block, "\n")); b != "" {
			list = append(list, b+"\n")
		}
		block = nil
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		code, indented := strings.CutPrefix(line, "    ")
		switch {
		case strings.HasPrefix(line, "```"):
			end()
			fenced = !fenced
		case fenced:
			block = append(block, line)
		case indented:
			block = append(block, code)
		case strings.TrimSpace(line) == "" && block != nil:
			block = append(block, "")
		default:
			end()
		}
	}
	end()
	return list
}

// compareBlocks compares the lines of a page's blocks with those of its scene:
// each is in both as many times.
func compareBlocks(t *testing.T, page string, shown []string, scene *txtar.Archive) {
	t.Helper()
	left := map[string]int{}
	for _, block := range shown {
		for line := range strings.Lines(block) {
			left[line]++
		}
	}
	for _, part := range scene.Files {
		reason, notRun := strings.CutPrefix(part.Name, partNotRun)
		if notRun && strings.TrimSpace(reason) == "" {
			t.Errorf("an example of %s is not run, for no reason:\n%s", page, part.Data)
		}
		if part.Name == partRun {
			continue
		}
		for line := range strings.Lines(strings.TrimSpace(string(part.Data)) + "\n") {
			left[line]--
		}
	}
	delete(left, "\n")
	for line, n := range left {
		switch {
		case n > 0:
			t.Errorf("%s shows what its scene does not have: %s", page, line)
		case n < 0:
			t.Errorf("the scene of %s has what that does not show, word for word: %s", page, line)
		}
	}
}

// sceneScript makes one script of a scene; "" if it runs nothing.
func sceneScript(t *testing.T, scene *txtar.Archive) string {
	t.Helper()
	prelude, err := os.ReadFile("testdata/examples/prelude.sh")
	if err != nil {
		t.Fatal(err)
	}
	runs := false
	b := strings.Builder{}
	b.Write(prelude)
	for _, part := range scene.Files {
		switch {
		case part.Name == partRun:
			b.Write(part.Data)
		case part.Name == partShown:
			runs = true
			writeExample(&b, string(part.Data))
		case part.Name == partFigure, strings.HasPrefix(part.Name, partNotRun):
		default:
			t.Errorf("a scene has no parts called %q", part.Name)
		}
	}
	if !runs {
		return ""
	}
	b.WriteString("echo all done\n")
	return b.String()
}

// writeExample writes the commands of an example. Where it has prompts, all other
// lines are what it prints, which is compared.
func writeExample(b *strings.Builder, text string) {
	if !strings.HasPrefix(text, "$ ") {
		b.WriteString(text)
		return
	}
	for _, command := range strings.Split("\n"+text, "\n$ ")[1:] {
		command, output, _ := strings.Cut(command, "\n")
		fmt.Fprintf(b, "{ %s\n} >said 2>&1\ncompare <<'END OF OUTPUT'\n%sEND OF OUTPUT\n", command, output)
	}
}

// playScene runs a script at a terminal, in pid, mount and IPC namespaces of its
// own.
func playScene(t *testing.T, script string) {
	tools := t.TempDir()
	file := filepath.Join(tools, "scene.sh")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	repo, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	p := openPTY(t)
	cmd := exec.Command("bash", "-c", "mount -t proc proc /proc && bash -m "+file+"; exit $?")
	cmd.Dir = t.TempDir()
	cmd.Env = append(withoutRole(os.Environ()), "TOOLS="+tools, "REPO="+repo, "GOBIN_DIR="+goDir, "LC_ALL=C.UTF-8")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.slave, p.slave, p.slave
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true, Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWIPC}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { err = cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(exampleTime):
		_ = cmd.Process.Kill() // it is the init of its namespace: nothing is left
		<-done
		err = fmt.Errorf("not done after %v", exampleTime)
	}
	if err != nil {
		t.Errorf("%v", err)
	} else {
		p.shows("all done")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	t.Logf("%s", p.text.String())
}

func withoutRole(env []string) []string {
	return slices.DeleteFunc(env, func(s string) bool { return strings.HasPrefix(s, roleEnv+"=") })
}
