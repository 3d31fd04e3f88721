package tests

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTableOfState compares STATE.md with what there is: each row "saved" names
// tests, each "refused" a message in the code, each "lost" words of a line of
// "What is lost" in ckpt(7), whose bold words all stand in a row.
func TestTableOfState(t *testing.T) {
	tests, code, lost := testSources(t), programTexts(t), lostLines(t)
	named := map[string]bool{}
	rows := regexp.MustCompile(`(?m)^\| (.+?) \| (.+?) \| (.+?) \|$`).FindAllStringSubmatch(readText(t, "STATE.md"), -1)
	if len(rows) < 100 {
		t.Fatalf("STATE.md has %d rows", len(rows))
	}
	for _, row := range rows {
		state, becomes, by := row[1], row[2], row[3]
		switch becomes {
		case "becomes":
		case "saved":
			for name := range strings.SplitSeq(by, ", ") {
				if !isTest(tests, name) {
					t.Errorf("%s: there is no test %s", state, name)
				}
			}
		case "refused":
			if !strings.Contains(code, by) {
				t.Errorf("%s: no message says %q", state, by)
			}
		case "lost":
			named[by] = true
			if !strings.Contains(lost, "**"+by+"**") {
				t.Errorf("%s: ckpt(7) does not say that it is lost: **%s**", state, by)
			}
		default:
			t.Errorf("%s is %q: saved, refused or lost are known", state, becomes)
		}
	}
	for _, m := range regexp.MustCompile(`\*\*(.+?)\*\*`).FindAllStringSubmatch(lost, -1) {
		if !named[m[1]] {
			t.Errorf("ckpt(7) says that %s is lost, and STATE.md has no such row", m[1])
		}
	}
}

func readText(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// testSources are the tests here.
func testSources(t *testing.T) string {
	t.Helper()
	files, _ := filepath.Glob("*_test.go")
	var text strings.Builder
	for _, f := range files {
		text.WriteString(readText(t, f))
	}
	return text.String()
}

// isTest reports whether a test exists, with its program or script.
func isTest(sources, name string) bool {
	function, part, _ := strings.Cut(name, "/")
	if !strings.Contains(sources, "func "+function+"(") {
		return false
	}
	file := map[string]string{"TestFeatures": "testdata/c/" + part + ".c", "TestScripts": "testdata/scripts/" + part + ".txt"}[function]
	if file == "" || part == "" {
		return part == ""
	}
	_, err := os.Stat(file)
	return err == nil
}

// programTexts is the source of the programs.
func programTexts(t *testing.T) string {
	t.Helper()
	var text strings.Builder
	err := filepath.WalkDir("../internal", func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			text.WriteString(readText(t, path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// lostLines is the section "What is lost" of ckpt(7).
func lostLines(t *testing.T) string {
	t.Helper()
	_, after, _ := strings.Cut(readText(t, "../man/ckpt.7.md"), "\n## What is lost\n")
	section, _, _ := strings.Cut(after, "\n## ")
	if section == "" {
		t.Fatal("ckpt(7) has no section What is lost")
	}
	return section
}
