package judge

import (
	"errors"
	"strings"
	"testing"

	"ckpt/stream/record"
)

// TestCheckOwnIPC: what in IPC and cgroup namespaces of a tree can't be.
func TestCheckOwnIPC(t *testing.T) {
	shmmax := record.Sysctl{Name: "kernel/shmmax", Values: []uint64{5}}
	for name, c := range map[string]struct {
		alone  bool // without a pid namespace
		ipc    record.Namespace
		cgroup record.Namespace
		says   string
	}{
		"both":                 {ipc: record.Namespace{Sysctls: []record.Sysctl{shmmax}}, cgroup: record.Namespace{Groups: []record.Cgroup{{Path: []byte("/a")}}}},
		"without pid":          {alone: true, says: "without one of process ids"},
		"another file":         {ipc: record.Namespace{Sysctls: []record.Sysctl{{Name: "kernel/modprobe", Values: []uint64{1}}}}, says: `1 values of "kernel/modprobe"`},
		"twice":                {ipc: record.Namespace{Sysctls: []record.Sysctl{shmmax, shmmax}}, says: "values of"},
		"groups of ipc":        {ipc: record.Namespace{Groups: []record.Cgroup{{Path: []byte("/a")}}}, says: "0 settings and 1 control groups"},
		"settings of cgroup":   {cgroup: record.Namespace{Sysctls: []record.Sysctl{shmmax}}, says: "1 settings and 0 control groups"},
		"very many groups":     {cgroup: record.Namespace{Groups: make([]record.Cgroup, 300)}, says: "a cgroup namespace in 300 hierarchies"},
		"a host's name of ipc": {ipc: record.Namespace{Host: []byte("h")}, says: "with a name for the host"},
	} {
		t.Run(name, func(t *testing.T) {
			m := New(&record.Header{RootPID: 1})
			c.ipc.Kind, c.cgroup.Kind = record.NamespaceIPC, record.NamespaceCgroup
			m.Namespaces[2], m.Namespaces[3] = &c.ipc, &c.cgroup
			refs := &record.NamespaceRefs{IPC: 2, Cgroup: 3}
			if !c.alone {
				m.Namespaces[1], refs.PID = &record.Namespace{Kind: record.NamespacePID}, 1
			}
			m.Tasks = []*Task{{Task: record.Task{PID: 1, ExitSignal: 17, Refs: refs}}}
			err := errors.Join(m.checkNamespaces()...)
			if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("%v", err)
			}
		})
	}
}
