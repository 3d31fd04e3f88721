package task

import (
	"strings"
	"testing"

	"ckpt/stream/record"
)

func TestCgroupRoots(t *testing.T) {
	for _, c := range []struct{ here, there, root, err string }{
		{"/a/b/c", "/c", "/a/b", ""},
		{"/a/b", "/", "/a/b", ""},
		{"/", "/", "/", ""},
		{"/c", "/c", "/", ""},
		{"/a/b (deleted)", "/b (deleted)", "/a", ""},
		{"/a", "/../a", "", "is not below the root"},
		{"/a", "/..", "", "is not below the root"},
		{"/a", "/b", "", "is not below the root"},
	} {
		roots, err := cgroupRoots([]record.Cgroup{{Hierarchy: "x", Path: []byte(c.here)}}, []record.Cgroup{{Path: []byte("/other")}, {Hierarchy: "x", Path: []byte(c.there)}})
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s is %s: %v", c.here, c.there, err)
			}
		} else if err != nil || len(roots) != 1 || string(roots[0].Path) != c.root {
			t.Errorf("%s is %s: %v, %v", c.here, c.there, roots, err)
		}
	}
	if _, err := cgroupRoots([]record.Cgroup{{Hierarchy: "x"}}, nil); err == nil {
		t.Error("a hierarchy is missing")
	}
}
