package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
)

// TestManPages compares the options that each program's --help lists with those
// of its page, both ways.
func TestManPages(t *testing.T) {
	option := regexp.MustCompile(`\*\*(--?[a-zA-Z-]+)\*\*`)
	listed := regexp.MustCompile(`(?m)^  (?:(-[a-zA-Z]), |    )(--[a-z-]+)`)
	for _, name := range []string{"ckpt-collect", "ckpt-dedup", "ckpt-write", "ckpt-commit", "ckpt-read", "ckpt-apply", "ckpt-json"} {
		page, err := os.ReadFile(filepath.Join("..", "man", name+".1.md"))
		if err != nil {
			t.Error(err)
			continue
		}
		text := string(page)
		for _, section := range []string{"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "INPUT AND OUTPUT", "EXIT STATUS", "EXAMPLES", "CAVEATS", "SEE ALSO"} {
			if !regexp.MustCompile(`(?m)^# ` + section + `$`).MatchString(text) {
				t.Errorf("%s has no section %s", name, section)
			}
		}
		options := regexp.MustCompile(`(?s)# OPTIONS\n(.*?)\n# `).FindStringSubmatch(text)
		if options == nil {
			continue
		}
		var want, got []string
		help, err := exec.Command(filepath.Join(binDir, name), "--help").Output()
		if err != nil {
			t.Error(err)
		}
		for _, m := range listed.FindAllStringSubmatch(string(help), -1) {
			want = append(want, m[2])
			if m[1] != "" {
				want = append(want, m[1])
			}
		}
		for _, head := range regexp.MustCompile(`(?m)^\*\*-.*$`).FindAllString(options[1], -1) {
			for _, m := range option.FindAllStringSubmatch(head, -1) {
				got = append(got, m[1])
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(want, got) {
			t.Errorf("%s has the options %v, its page %v", name, want, got)
		}
	}
}
