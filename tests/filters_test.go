package tests

import (
	"bytes"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ckpt/stream"
)

// examples are filters as others would write them.
const examples = "../examples"

// TestFilters: a filter in another Go module and one in Python without a library
// make the same of real streams, and of one with every record and field there is:
// the paths they are to change, and nothing else.
func TestFilters(t *testing.T) {
	inGo := filepath.Join(t.TempDir(), "move-home")
	build := exec.Command(filepath.Join(goDir, "go"), "build", "-C", filepath.Join(examples, "move-home"), "-o", inGo)
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	filters := map[string][]string{"Go": {inGo}, "Python": {"python3", filepath.Join(examples, "move_home.py")}}
	for what, in := range frozenStreams(t) {
		want := moved(t, in)
		for name, command := range filters {
			t.Run(what+"/"+name, func(t *testing.T) {
				if got, err := filtered(command, in, "/tmp", "/elsewhere"); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d bytes became %d, %v, want %d", len(in), len(got), err, len(want))
				}
				if got, err := filtered(command, in, "/no/such", "/x"); err != nil || !bytes.Equal(got, in) {
					t.Errorf("%d bytes that are not to be changed became %d, %v", len(in), len(got), err)
				}
				brokenOff(t, command, in)
				readerGone(t, command, in)
			})
		}
	}
}

// filtered runs a filter from a stream in memory to another.
func filtered(command []string, in []byte, args ...string) ([]byte, error) {
	cmd := exec.Command(command[0], append(command[1:len(command):len(command)], args...)...)
	cmd.Stdin = bytes.NewReader(in)
	return cmd.Output()
}

// brokenOff: if a filter's input breaks off, the programs behind it learn the cause.
func brokenOff(t *testing.T, command []string, in []byte) {
	t.Helper()
	for _, n := range []int{len(in) / 3, len(in) - 5} {
		out, err := filtered(command, in[:n], "/no/such", "/x")
		var exit *exec.ExitError
		var abort *stream.AbortError
		if rerr := readAll(out); !errors.As(err, &exit) || !errors.As(rerr, &abort) || !strings.Contains(abort.Reason, stream.ErrTruncated.Error()) {
			t.Errorf("of %d bytes: %v, and behind it %v", n, err, rerr)
		}
	}
}

// readerGone: a filter whose reader has ended fails and says nothing, for the reader
// has said why.
func readerGone(t *testing.T, command []string, in []byte) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	defer w.Close()
	cmd := exec.Command(command[0], append(command[1:len(command):len(command)], "/no/such", "/x")...)
	var said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), w, &said
	if err := cmd.Run(); err == nil || said.Len() > 0 {
		t.Errorf("without a reader: %v, and it says:\n%s", err, said.Bytes())
	}
}

func readAll(b []byte) error {
	r := stream.NewReader(bytes.NewReader(b))
	for {
		if _, err := r.Next(); err != nil {
			return err
		}
	}
}

// frozenStreams are the frozen streams of the latest version.
func frozenStreams(t *testing.T) map[string][]byte {
	t.Helper()
	images, err := filepath.Glob("../stream/testdata/frozen/*/everything.img")
	if err != nil || len(images) == 0 {
		t.Fatal(images, err)
	}
	dir := filepath.Dir(images[len(images)-1])
	every, err := os.ReadFile(filepath.Join(dir, "every.stream"))
	if err != nil {
		t.Fatal(err)
	}
	image, err := os.Open(filepath.Join(dir, "everything.img"))
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	cmd := exec.Command("ckpt-read")
	cmd.Stdin = image
	everything, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{"every.stream": every, "everything.img": everything}
}

// moved is what the filters must make of a stream: files and folders below /tmp
// move to /elsewhere.
func moved(t *testing.T, in []byte) []byte {
	t.Helper()
	lines := exec.Command("sh", "-c", `ckpt-json decode --data | jq -c 'if (.type == "REG" or .type == "DIR") then .meta.path |= sub("^/tmp/"; "/elsewhere/") else . end' | ckpt-json encode`)
	lines.Stdin = bytes.NewReader(in)
	out, err := lines.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestFilterNames: the author of a filter in Go needs few names.
func TestFilterNames(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(examples, "move-home", "main.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		switch x, _ := sel.X.(*ast.Ident); {
		case x == nil:
		case x.Name == "stream" || x.Name == "record":
			names[x.Name+"."+sel.Sel.Name] = true
		case x.Name == "rec" || x.Name == "w":
			names["."+sel.Sel.Name] = true
		}
		return true
	})
	if len(names) < 5 || len(names) >= 12 {
		t.Errorf("%d names: %v", len(names), names)
	}
}
