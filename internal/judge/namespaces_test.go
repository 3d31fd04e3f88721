package judge

import (
	"strings"
	"testing"

	"ckpt/stream/record"
)

// TestCheckNamespaces: what in the namespaces of a tree can't be.
func TestCheckNamespaces(t *testing.T) {
	refs := func(pid, uts uint64) *record.NamespaceRefs { return &record.NamespaceRefs{PID: pid, UTS: uts} }
	for name, c := range map[string]struct {
		rootPID    int
		root       record.Task
		child      *record.NamespaceRefs
		host       string
		says       string // "" is accepted
		namespaces string // kinds of objects 1, 2
	}{
		"none":                  {rootPID: 7, root: record.Task{PID: 7, PPID: 3}},
		"an init":               {rootPID: 1, root: record.Task{PID: 1, ExitSignal: 17, Refs: refs(1, 0)}, child: refs(1, 0), namespaces: "pid"},
		"with a host's name":    {rootPID: 1, root: record.Task{PID: 1, ExitSignal: 17, Refs: refs(1, 2)}, child: refs(1, 2), namespaces: "pid uts", host: "h"},
		"a child elsewhere":     {rootPID: 1, root: record.Task{PID: 1, ExitSignal: 17, Refs: refs(1, 0)}, namespaces: "pid", says: "is in another pid namespace than pid 1"},
		"not the init":          {rootPID: 7, root: record.Task{PID: 7, ExitSignal: 17, Refs: refs(1, 0)}, child: refs(1, 0), namespaces: "pid", says: "and not its init"},
		"HEADER says otherwise": {rootPID: 7, root: record.Task{PID: 1, ExitSignal: 17, Refs: refs(1, 0)}, child: refs(1, 0), namespaces: "pid", says: "HEADER says pid 7"},
		"an init with a parent": {rootPID: 1, root: record.Task{PID: 1, ExitSignal: 17, PPID: 3, Refs: refs(1, 0)}, child: refs(1, 0), namespaces: "pid", says: "has a parent"},
		"UTS alone":             {rootPID: 7, root: record.Task{PID: 7, Refs: refs(0, 1)}, child: refs(0, 1), namespaces: "uts", says: "without one of process ids"},
		"another kind":          {rootPID: 1, root: record.Task{PID: 1, ExitSignal: 17, Refs: refs(1, 1)}, child: refs(1, 1), namespaces: "pid", says: "is not a namespace of kind"},
		"a second one":          {rootPID: 1, root: record.Task{PID: 1, ExitSignal: 17, Refs: refs(1, 0)}, child: refs(1, 0), namespaces: "pid pid", says: "namespace 2 of kind \"pid\" is not that of the root"},
		"a zero byte":           {rootPID: 1, root: record.Task{PID: 1, ExitSignal: 17, Refs: refs(1, 2)}, child: refs(1, 2), namespaces: "pid uts", host: "a\x00b", says: "with a zero byte in the name for the host"},
		"an empty name":         {rootPID: 1, root: record.Task{PID: 1, ExitSignal: 17, Refs: refs(1, 2)}, child: refs(1, 2), namespaces: "pid uts"},
		"no name":               {rootPID: 1, root: record.Task{PID: 1, ExitSignal: 17, Refs: refs(1, 2)}, child: refs(1, 2), namespaces: "pid uts", host: "none", says: "without a name for the host"},
		"a name of another":     {rootPID: 1, root: record.Task{PID: 1, ExitSignal: 17, Refs: refs(1, 0)}, child: refs(1, 0), namespaces: "pid", host: "h", says: "with a name for the host"},
		"an exit signal":        {rootPID: 1, root: record.Task{PID: 1, ExitSignal: 10, Refs: refs(1, 0)}, child: refs(1, 0), namespaces: "pid", says: "sends signal 10 when it ends"},
		"a long name":           {rootPID: 1, root: record.Task{PID: 1, ExitSignal: 17, Refs: refs(1, 2)}, child: refs(1, 2), namespaces: "pid uts", host: strings.Repeat("h", 65), says: "with a name of 65 bytes for the host"},
	} {
		t.Run(name, func(t *testing.T) {
			m := New(&record.Header{RootPID: c.rootPID})
			for i, kind := range strings.Fields(c.namespaces) {
				m.Namespaces[uint64(i+1)] = &record.Namespace{Kind: kind}
				if ns := m.Namespaces[uint64(i+1)]; kind == record.NamespaceUTS {
					ns.Host, ns.Domain = []byte(c.host), []byte{}
					if c.host == "none" {
						ns.Host = nil
					}
				} else if i == 0 && c.host == "h" && len(c.namespaces) == len(kind) {
					ns.Host = []byte(c.host)
				}
			}
			m.Tasks = []*Task{{Task: c.root}, {Task: record.Task{PID: 9, Refs: c.child}}}
			errs := m.checkNamespaces()
			if c.says == "" && len(errs) > 0 || c.says != "" && (len(errs) != 1 || !strings.Contains(errs[0].Error(), c.says)) {
				t.Errorf("%v; want %q", errs, c.says)
			}
		})
	}
}
