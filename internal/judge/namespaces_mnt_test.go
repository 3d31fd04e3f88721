package judge

import (
	"errors"
	"strings"
	"testing"

	"ckpt/internal/mounts"
	"ckpt/stream"
	"ckpt/stream/record"
)

// TestMountsOf: a mount namespace has mounts, and nothing else has.
func TestMountsOf(t *testing.T) {
	fs := &record.Filesystem{Object: record.Object{Objref: 5}, Type: "tmpfs", How: record.FSTree}
	for name, c := range map[string]struct {
		kind string
		of   uint64 // 0: no mount
		says string
	}{
		"none":                  {record.NamespaceUTS, 0, ""},
		"as it should be":       {record.NamespaceMnt, 1, ""},
		"no mounts":             {record.NamespaceMnt, 0, "a mount namespace without a mount"},
		"of another kind":       {record.NamespaceUTS, 1, "object 1, which is no mount namespace"},
		"in what is not there":  {record.NamespaceMnt, 2, "object 2, which is no mount namespace"},
		"without any namespace": {"", 1, "object 1, which is no mount namespace"},
	} {
		t.Run(name, func(t *testing.T) {
			m := New(&record.Header{})
			if c.kind != "" {
				m.Namespaces[1] = &record.Namespace{Kind: c.kind}
			}
			if c.of != 0 {
				mount := &record.Mount{ID: 1, Root: "/", Point: "/", Refs: record.MountRefs{Of: c.of, FS: 5}}
				m.Mounts = []*stream.Record{newRecord(t, record.TypeFilesystem, fs), newRecord(t, record.TypeMount, mount)}
			}
			err := m.MountsOf(new(mounts.Restorer))
			if c.says == "" && err != nil || c.says != "" && (!errors.Is(err, stream.ErrCorrupt) || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("%v; want %q", err, c.says)
			}
			if errs := m.checkMounts(); len(errs) > 0 && c.says == "" && c.of == 0 || len(errs) == 0 && c.says != "" {
				t.Errorf("judged on paper: %v", errs)
			}
		})
	}
}

func newRecord(t *testing.T, typ record.Type, v any) *stream.Record {
	t.Helper()
	rec, err := stream.New(typ, v)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}
