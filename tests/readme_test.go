package tests

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReadme compares the table of README.md with the tests: each row names one, and
// the table names each program and script.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "| feature | test |")
	rows := map[string]bool{}
	for row := range strings.Lines(table) {
		feature := strings.TrimSpace(strings.Split(row+"||", "|")[1])
		if feature != "" && rows[feature] {
			t.Errorf("README.md has two rows for %q", feature)
		}
		rows[feature] = true
	}
	named := map[string]bool{}
	for _, m := range regexp.MustCompile(`\bTest[A-Z][A-Za-z]+(/[a-z0-9_-]+)?`).FindAllString(table, -1) {
		named[m] = true
	}
	sources, _ := filepath.Glob("*_test.go")
	machines, _ := filepath.Glob("vm/*_test.go")
	sources = append(sources, machines...)
	var code strings.Builder
	for _, name := range sources {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		code.Write(b)
	}
	for name := range named {
		function, part, _ := strings.Cut(name, "/")
		if !strings.Contains(code.String(), "func "+function+"(") {
			t.Errorf("README.md names %s, and there is no such test", name)
		}
		file := map[string]string{"TestFeatures": "testdata/c/" + part + ".c", "TestScripts": "testdata/scripts/" + part + ".txt"}[function]
		if file == "" || part == "" {
			continue
		}
		if _, err := os.Stat(file); err != nil {
			t.Errorf("README.md names %s: %v", name, err)
		}
	}
	for pattern, test := range map[string]string{"testdata/c/*.c": "TestFeatures/", "testdata/scripts/*.txt": "TestScripts/"} {
		files, _ := filepath.Glob(pattern)
		for _, f := range files {
			name := strings.TrimSuffix(filepath.Base(f), filepath.Ext(f))
			if apart := map[string]string{"sharing": "TestSharing", "syscalls": "TestSystemCalls", "paths": "TestPaths", "tty": "TestTerminal", "fuse": "TestFUSE", "waits_often": "TestWaitsOften",
				"pid_namespace": "TestInits", "uts_namespace": "TestInits", "netns_links": "TestInits", "netns_routes": "TestInits", "netns_sockets": "TestInits", "netns_sysctls": "TestInits", "init_thief": "TestInits"}[name]; apart != "" {
				name, test = "", apart
			} else if strings.HasPrefix(name, "ipc_") || name == "cgroup_namespace" {
				test = "TestIPCNamespaces/"
			}
			if !named[test+name] {
				t.Errorf("README.md does not name %s%s", test, name)
			}
			test = map[bool]string{true: "TestFeatures/", false: "TestScripts/"}[strings.HasSuffix(f, ".c")]
		}
	}
}
