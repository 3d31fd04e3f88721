package proc

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// seed adds all fixtures whose names match.
func seed(f *testing.F, pattern string) {
	names, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(names) == 0 {
		f.Fatalf("no fixtures %s: %v", pattern, err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

func FuzzParseStat(f *testing.F) {
	seed(f, "stat*")
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseStat(b)
		if err == nil && !bytes.Contains(b, []byte("("+s.Comm+")")) {
			t.Errorf("name %q is not in the text", s.Comm)
		}
	})
}

func FuzzParseStatus(f *testing.F) {
	seed(f, "status*")
	f.Fuzz(func(_ *testing.T, b []byte) { ParseStatus(b) })
}

func FuzzParseMappings(f *testing.F) {
	seed(f, "*maps")
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := ParseMappings(bytes.NewReader(b))
		if err != nil {
			return
		}
		var last uint64
		for _, m := range all {
			if m.Start < last || m.End <= m.Start {
				t.Fatalf("mapping %#x-%#x after %#x", m.Start, m.End, last)
			}
			last = m.End
			m.Name()
			m.AnonName()
			for _, flag := range m.VmFlags.List() {
				m.VmFlags.Has(flag)
			}
		}
	})
}

func FuzzParseFDInfo(f *testing.F) {
	seed(f, "fdinfo-*")
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := ParseFDInfo(b)
		if err != nil {
			return
		}
		for _, l := range info.Locks {
			if l.Start < 0 || l.End != EOF && l.End < l.Start {
				t.Fatalf("lock %+v", l)
			}
		}
	})
}

// FuzzParseSmall covers the small texts with one corpus.
func FuzzParseSmall(f *testing.F) {
	for _, pattern := range []string{"timers", "limits", "cgroup", "autogroup"} {
		seed(f, pattern)
	}
	f.Add([]byte("mnt:[4026531832]"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		ParseTimers(b)
		ParseLimits(b)
		ParseCgroups(b)
		ParseAutogroup(b)
		ParseChildren(b)
		ParseNamespace(string(b))
		ParseLock(string(b))
	})
}
