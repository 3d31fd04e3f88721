package tests

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"ckpt/internal/apply"
	"ckpt/internal/cli"
	"ckpt/internal/collect"
	"ckpt/internal/dedup"
	"ckpt/internal/jsonl"
	"ckpt/internal/read"
	"ckpt/internal/write"
)

// TestManPages compares the options of each program with those of its page,
// both ways.
func TestManPages(t *testing.T) {
	option := regexp.MustCompile(`\*\*(--?[a-zA-Z-]+)\*\*`)
	for _, c := range []*cli.Command{&collect.Command, &dedup.Command, &write.Command, &read.Command, &apply.Command, &jsonl.Command} {
		page, err := os.ReadFile(filepath.Join("..", "man", c.Name+".1.md"))
		if err != nil {
			t.Error(err)
			continue
		}
		text := string(page)
		for _, section := range []string{"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "INPUT AND OUTPUT", "EXIT STATUS", "EXAMPLES", "CAVEATS", "SEE ALSO"} {
			if !regexp.MustCompile(`(?m)^# ` + section + `$`).MatchString(text) {
				t.Errorf("%s has no section %s", c.Name, section)
			}
		}
		options := regexp.MustCompile(`(?s)# OPTIONS\n(.*?)\n# `).FindStringSubmatch(text)
		if options == nil {
			continue
		}
		var want, got []string
		for _, f := range c.Flags() {
			want = append(want, "--"+f.Name)
			for _, a := range f.Aliases {
				want = append(want, "-"+a)
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
			t.Errorf("%s has the options %v, its page %v", c.Name, want, got)
		}
	}
}
