// Package golden compares files in testdata with what tests make. With -update
// they are written, but those of a released version of the stream's format stay
// what they are: whatever reads them has to go on reading them.
package golden

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

var update = flag.Bool("update", false, "write the files that tests compare with what they make")

// Compare compares a file with what its test makes. A frozen one is not changed by
// -update, but made if it is not there.
func Compare(t testing.TB, file string, want []byte, frozen bool) {
	t.Helper()
	if *update {
		if err := rewrite(file, want, frozen); err != nil {
			t.Error(err)
			return
		}
	}
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not what this test makes (run with -update): %v", file, err)
	}
}

// Make reports whether a file is to be made that comes out different each time: with
// -update, and not if it is there and frozen.
func Make(file string, frozen bool) bool {
	_, err := os.Stat(file)
	return *update && (err != nil || !frozen)
}

func rewrite(file string, want []byte, frozen bool) error {
	switch got, err := os.ReadFile(file); {
	case err == nil && bytes.Equal(got, want):
		return nil
	case err == nil && frozen:
		return fmt.Errorf("%s is of a released version of the format and does not change", file)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, want, 0o644))
}

// Version is one of the format, by CHANGELOG.md.
type Version struct {
	Name     string // "0.1"
	Released bool
}

// heading is that of a version, "## 0.1" or "## 0.2, not released".
var heading = regexp.MustCompile(`(?m)^## (\d+\.\d+)(, not released)?$`)

// Versions returns those of CHANGELOG.md, the latest first.
func Versions(t testing.TB) (list []Version) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(Root(t), "CHANGELOG.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range heading.FindAllStringSubmatch(string(text), -1) {
		list = append(list, Version{m[1], m[2] == ""})
	}
	return list
}

// Released reports whether a version is.
func Released(t testing.TB, name string) bool {
	t.Helper()
	for _, v := range Versions(t) {
		if v.Name == name {
			return v.Released
		}
	}
	t.Fatalf("CHANGELOG.md says nothing of version %s", name)
	return false
}

// Root returns the folder of the module.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	for ; err == nil; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			err = errors.New("no go.mod in the folders above")
		}
	}
	t.Fatal(err)
	return ""
}
