package fences

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "ckpt/"

// levels is the house, from the ground up: a package imports only what stands
// on a lower level. A new package gets its place here.
var levels = map[string]int{
	"stream/record": -1,
	"stream":        0,
	"internal/sys":  0, "internal/abi": 0, "internal/parallel": 0,
	"internal/proc": 1, "internal/kcmp": 1, "internal/objhash": 1, "internal/image": 1,
	"internal/tracee": 2, "internal/move": 3, "internal/hold": 2, "internal/cli": 2, "internal/ends": 0, "internal/caps": 2,
	"internal/netlink": 0, "internal/nft": 1, "internal/netns": 2, "internal/repair": 2, "internal/drain": 3,
	"internal/puppet": 3, "internal/loan": 3,
	"internal/depot": 4, "internal/object": 5,
	"internal/files": 6, "internal/mounts": 6, "internal/task": 6, "internal/memory": 6, "internal/ipc": 6,
	"internal/judge": 7, "internal/sorter": 7,
	"internal/collect": 8, "internal/dedup": 8, "internal/write": 8, "internal/commit": 8,
	"internal/read": 8, "internal/apply": 8, "internal/jsonl": 8,
	"cmd":             9,
	"internal/fences": 0, "internal/golden": 0,
}

const (
	library = "github.com/urfave/cli"
	kernel  = "golang.org/x/sys"
)

// unsafeIn may have files *_unsafe.go.
var unsafeIn = []string{"internal/sys", "internal/tracee", "internal/proc", "internal/kcmp"}

// kernelIn speak to the kernel. stream does in one file, see below.
var kernelIn = []string{
	"internal/sys", "internal/tracee", "internal/puppet", "internal/loan", "internal/proc", "internal/kcmp", "internal/caps", "internal/object", "internal/mounts", "internal/task", "internal/memory", "internal/ipc", "internal/depot",
	"internal/netlink", "internal/nft", "internal/netns", "internal/repair", "internal/drain", "internal/files", "internal/move", "internal/hold", "internal/cli", "internal/collect", "internal/apply", "internal/judge", "internal/dedup", "internal/write", "internal/commit",
}

// source is one file.
type source struct {
	path, name string
	pkg        string // its place in levels
	test       bool   // test code
	*ast.File
}

func (s *source) unsafeName() bool {
	return strings.HasSuffix(s.name, "_unsafe.go") || strings.HasSuffix(s.name, "_unsafe_test.go")
}

// imports returns path by name in the file.
func (s *source) imports() map[string]string {
	m := map[string]string{}
	for _, spec := range s.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		name := path.Base(p)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		m[name] = p
	}
	return m
}

// rules find what is wrong with a file.
var rules = map[string]func(s *source, bad func(what string)){
	"unsafe stands in *_unsafe.go of a few packages": func(s *source, bad func(string)) {
		for _, p := range s.imports() {
			if p == "unsafe" && (!s.unsafeName() || !s.test && !slices.Contains(unsafeIn, s.pkg)) {
				bad(p)
			}
		}
	},
	"raw system calls stand in *_unsafe.go": func(s *source, bad func(string)) {
		if s.unsafeName() {
			return
		}
		imports := s.imports()
		ast.Inspect(s.File, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && rawCall(imports, sel) {
				bad(sel.Sel.Name)
			}
			return true
		})
	},
	"processes are looked for in /proc by way of internal/proc": func(s *source, bad func(string)) {
		if s.test || s.pkg == "internal/proc" || s.pkg == "internal/hold" || s.pkg == "internal/testkit" { // the hold is for filters outside
			return
		}
		ast.Inspect(s.File, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && strings.HasPrefix(lit.Value, `"/proc/%`) {
				bad(lit.Value)
			}
			return true
		})
	},
	"no linkname": func(s *source, bad func(string)) {
		for _, group := range s.Comments {
			for _, c := range group.List {
				if strings.HasPrefix(c.Text, "//go:linkname") {
					bad(c.Text)
				}
			}
		}
	},
	"only tests use internal/testkit": func(s *source, bad func(string)) {
		for _, p := range s.imports() {
			if p == module+"internal/testkit" && !s.test {
				bad(p)
			}
		}
	},
	"no cgo": func(s *source, bad func(string)) {
		for _, p := range s.imports() {
			if p == "C" {
				bad(p)
			}
		}
	},
	"only internal/cli knows the command line library": func(s *source, bad func(string)) {
		for _, p := range s.imports() {
			if strings.HasPrefix(p, library) && s.pkg != "internal/cli" {
				bad(p)
			}
		}
	},
	"only tests and ckpt-commit run programs": func(s *source, bad func(string)) {
		for _, p := range s.imports() {
			if p == "os/exec" && !s.test && s.pkg != "internal/commit" {
				bad(p)
			}
		}
	},
	"x/sys only where the kernel is spoken to": func(s *source, bad func(string)) {
		for _, p := range s.imports() {
			if strings.HasPrefix(p, kernel) && !s.test && !slices.Contains(kernelIn, s.pkg) && s.path != "stream/move_linux.go" {
				bad(p)
			}
		}
	},
	"arrows point down": func(s *source, bad func(string)) {
		for _, p := range s.imports() {
			if ours, ok := strings.CutPrefix(p, module); ok && !s.test && levels[place(ours)] >= levels[s.pkg] {
				bad(p)
			}
		}
	},
	"only the order's own record types have a name in collect and apply": func(s *source, bad func(string)) {
		if s.pkg != "internal/collect" && s.pkg != "internal/apply" || s.test {
			return
		}
		imports := s.imports()
		ast.Inspect(s.File, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := sel.X.(*ast.Ident)
			if ok && imports[x.Name] == module+"stream" && typeName.MatchString(sel.Sel.Name) && !slices.Contains(orderTypes, sel.Sel.Name) {
				bad(sel.Sel.Name)
			}
			return true
		})
	},
	"what depends on the CPU is in internal/tracee": func(s *source, bad func(string)) {
		if s.pkg == "internal/tracee" || s.test {
			return
		}
		for _, arch := range []string{"_amd64.go", "_arm64.go"} {
			if strings.HasSuffix(s.name, arch) {
				bad(s.name)
			}
		}
		for _, group := range s.Comments {
			for _, c := range group.List {
				if strings.HasPrefix(c.Text, "//go:build") && strings.Contains(c.Text, "64") {
					bad(c.Text)
				}
			}
		}
	},
	"only puppets and loans have a tracee run": func(s *source, bad func(string)) {
		if s.test || s.pkg == "internal/tracee" || s.pkg == "internal/puppet" || s.pkg == "internal/loan" {
			return
		}
		ast.Inspect(s.File, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && slices.Contains(movers, sel.Sel.Name) {
				bad(sel.Sel.Name)
			}
			return true
		})
	},
	"the kernel's structures have their sizes in internal/abi": func(s *source, bad func(string)) {
		if s.pkg == "internal/abi" || s.test {
			return
		}
		ast.Inspect(s.File, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			for i, name := range spec.Names {
				if !structBytes.MatchString(name.Name) || i >= len(spec.Values) {
					continue
				}
				if lit, ok := spec.Values[i].(*ast.BasicLit); ok {
					bad(name.Name + " = " + lit.Value)
				}
			}
			return true
		})
	},
	"a program is its command package and internal/cli": func(s *source, bad func(string)) {
		for _, p := range s.imports() {
			if s.pkg == "cmd" && !s.test && p != "os" && p != module+"internal/cli" && levels[place(strings.TrimPrefix(p, module))] != levels["cmd"]-1 {
				bad(p)
			}
		}
	},
}

// orderTypes are what the order of collecting and restoring is made of: tasks,
// address spaces with their pages, descriptor tables, and the stream's frame. All
// other records are of kinds and resources, which are rows of tables.
var orderTypes = []string{"Type", "TypeInfo", "TypeHeader", "TypeEnd", "TypeTask", "TypeThread", "TypeMM", "TypeFDTable", "TypePages", "TypeInherit"}

// movers are what changes where a tracee stands or what it runs.
var movers = []string{"CallAt", "Poke", "InterruptFromCall", "StandsInSignal", "StopAgain", "Reseize", "ResumeWait", "UseTiles", "SetCall", "SetVector", "SetAsk"}

// structBytes are names for sizes of what internal/abi has.
var structBytes = regexp.MustCompile(`(?i)^(page|siginfo|sigaction|sigset|stack_?t|robust(head)?|sembuf|semop|seccompdata|iovec|flock|rseq(cs)?|cloneargs|itimer(spec|val)|sigevent)Bytes$`)

var typeName = regexp.MustCompile(`^Type`)

var rawCallName = regexp.MustCompile(`^(Raw)?Syscall(6|9|N|NoError)?$|^Raw(Vfork)?Syscall`)

func rawCall(imports map[string]string, sel *ast.SelectorExpr) bool {
	x, ok := sel.X.(*ast.Ident)
	if !ok {
		return false
	}
	p := imports[x.Name]
	return (p == "syscall" || strings.HasPrefix(p, kernel)) && rawCallName.MatchString(sel.Sel.Name)
}

// place returns the entry of levels for a directory.
func place(dir string) string {
	if strings.HasPrefix(dir, "cmd/") {
		return "cmd"
	}
	return dir
}

func TestFences(t *testing.T) {
	files := sources(t)
	if len(files) < 50 {
		t.Fatalf("only %d files found", len(files))
	}
	for _, s := range files {
		if _, ok := levels[s.pkg]; !ok && !s.test {
			t.Errorf("%s: the package has no place in levels", s.path)
		}
		for rule, check := range rules {
			check(s, func(what string) { t.Errorf("%s: %s: %s", s.path, what, rule) })
		}
	}
}

// sources parses all Go files, whatever system they are for.
func sources(t *testing.T) (list []*source) {
	t.Helper()
	const root = "../.."
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := filepath.ToSlash(strings.TrimPrefix(p, root+"/"))
		if d.IsDir() {
			if name := d.Name(); name == "testdata" || name != ".." && strings.HasPrefix(name, ".") || rel == "bin" || rel == "examples" {
				return fs.SkipDir
			}
			return nil
		}
		switch path.Ext(rel) {
		case ".go":
			s, err := parse(p, rel)
			list = append(list, s)
			return err
		case ".s", ".S", ".c", ".syso":
			if !strings.HasPrefix(rel, "tests/") {
				t.Errorf("%s: no part of the tools is written in anything but Go", rel)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func parse(file, rel string) (*source, error) {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
	dir := path.Dir(rel)
	s := &source{path: rel, name: path.Base(rel), pkg: place(dir), File: f}
	s.test = strings.HasSuffix(rel, "_test.go") || strings.HasPrefix(rel, "tests/") || strings.HasPrefix(rel, "internal/testkit/")
	return s, err
}

// The rules themselves, on code that breaks them.
func TestRules(t *testing.T) {
	for _, c := range []struct{ path, code, rule string }{
		{"internal/files/x.go", `import "unsafe"`, "unsafe stands in *_unsafe.go of a few packages"},
		{"internal/files/x_unsafe.go", `import _ "unsafe"`, "unsafe stands in *_unsafe.go of a few packages"},
		{"internal/sys/x.go", `import "unsafe"`, "unsafe stands in *_unsafe.go of a few packages"},
		{"internal/sys/x_unsafe.go", `import "unsafe"`, ""},
		{"internal/sys/x.go", "import \"golang.org/x/sys/unix\"\nvar f = unix.RawSyscall6", "raw system calls stand in *_unsafe.go"},
		{"internal/sys/x.go", "import \"golang.org/x/sys/unix\"\nvar f = unix.SyscallNoError", "raw system calls stand in *_unsafe.go"},
		{"internal/sys/x.go", "import u \"syscall\"\nvar f = u.Syscall", "raw system calls stand in *_unsafe.go"},
		{"internal/sys/x.go", "import \"golang.org/x/sys/unix\"\nvar f = unix.Getpid", ""},
		{"internal/sys/x_unsafe.go", "//go:linkname f runtime.f\nfunc f()", "no linkname"},
		{"internal/sys/x.go", `import "C"`, "no cgo"},
		{"internal/write/x.go", `import "github.com/urfave/cli/v2"`, "only internal/cli knows the command line library"},
		{"internal/cli/x.go", `import "github.com/urfave/cli/v2"`, ""},
		{"internal/apply/x.go", `import "os/exec"`, "only tests and ckpt-commit run programs"},
		{"internal/apply/x_test.go", `import "os/exec"`, ""},
		{"internal/commit/x.go", `import "os/exec"`, ""},
		{"stream/x.go", `import "golang.org/x/sys/unix"`, "x/sys only where the kernel is spoken to"},
		{"stream/move_linux.go", `import "golang.org/x/sys/unix"`, ""},
		{"internal/image/x.go", `import "golang.org/x/sys/unix"`, "x/sys only where the kernel is spoken to"},
		{"internal/files/x.go", `import "ckpt/internal/task"`, "arrows point down"},
		{"stream/x.go", `import "ckpt/internal/sys"`, "arrows point down"},
		{"internal/hold/x.go", `import "ckpt/internal/collect"`, "arrows point down"},
		{"internal/dedup/x.go", `import "ckpt/internal/write"`, "arrows point down"},
		{"cmd/ckpt-x/x.go", `import "ckpt/internal/write"`, ""},
		{"cmd/ckpt-x/x.go", `import "ckpt/internal/hold"`, "a program is its command package and internal/cli"},
		{"cmd/ckpt-x/x.go", `import "fmt"`, "a program is its command package and internal/cli"},
	} {
		f, err := parser.ParseFile(token.NewFileSet(), c.path, "package x\n"+c.code, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		s := &source{path: c.path, name: path.Base(c.path), pkg: place(path.Dir(c.path)), File: f}
		s.test = strings.HasSuffix(c.path, "_test.go")
		broken := map[string]bool{}
		for rule, check := range rules {
			check(s, func(string) { broken[rule] = true })
		}
		got := strings.Join(slices.Sorted(maps.Keys(broken)), ", ")
		if got != c.rule {
			t.Errorf("%s with %s breaks %q, want %q", c.path, c.code, got, c.rule)
		}
	}
}
