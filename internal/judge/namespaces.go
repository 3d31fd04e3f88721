package judge

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/internal/ipc"
	"ckpt/internal/netns"
	"ckpt/internal/task"
	"ckpt/stream"
	"ckpt/stream/record"
)

// Namespace returns the namespace of a kind that is the tree's own, nil if there is none.
func (m *Model) Namespace(kind string) *record.Namespace {
	return m.Namespaces[refTo(m.Tasks[0].Task.Refs, kind)]
}

// IsInit reports whether the root is the init of a pid namespace of the tree's own.
func (m *Model) IsInit() bool {
	return m != nil && len(m.Tasks) > 0 && m.Namespace(record.NamespacePID) != nil
}

// Network returns what is in the tree's network namespace; nil if that is not its own.
func (m *Model) Network() *netns.Network {
	return m.Networks[refTo(m.Tasks[0].Task.Refs, record.NamespaceNet)]
}

// Network judges what can be known of the tree's network namespace before it is made.
func Network(m *Model, d *netns.Decisions) error {
	if err := m.hasRoot(); err != nil {
		return &Refused{[]error{err}}
	}
	errs := m.checkNamespaces()
	if len(errs) == 0 {
		errs = d.Check(m.Network())
	}
	if len(errs) > 0 {
		return &Refused{errs}
	}
	return nil
}

// isInit reports whether a process is that.
func (m *Model) isInit(t *Task) bool { return t == m.Tasks[0] && m.IsInit() }

func refTo(r *record.NamespaceRefs, kind string) uint64 {
	switch {
	case r == nil:
	case kind == record.NamespacePID:
		return r.PID
	case kind == record.NamespaceUTS:
		return r.UTS
	case kind == record.NamespaceMnt:
		return r.Mnt
	case kind == record.NamespaceIPC:
		return r.IPC
	case kind == record.NamespaceCgroup:
		return r.Cgroup
	case kind == record.NamespaceNet:
		return r.Net
	}
	return 0
}

var namespaceKinds = []string{record.NamespacePID, record.NamespaceUTS, record.NamespaceIPC, record.NamespaceCgroup, record.NamespaceMnt, record.NamespaceNet}

// maxHostBytes is how long the names of a UTS namespace may be: __NEW_UTS_LEN of uapi
// linux/utsname.h.
const maxHostBytes = 64

// initPID is the process id of the init of a pid namespace.
const initPID = 1

// checkNamespaces judges the namespaces of the tree: all processes are in those of the root.
func (m *Model) checkNamespaces() (errs []error) {
	for _, kind := range namespaceKinds {
		ref := refTo(m.Tasks[0].Task.Refs, kind)
		if ns := m.Namespaces[ref]; ref != 0 && (ns == nil || ns.Kind != kind) {
			errs = append(errs, fmt.Errorf("%w: object %d is not a namespace of kind %q", stream.ErrCorrupt, ref, kind))
		}
		if ref != 0 && kind != record.NamespacePID && kind != record.NamespaceMnt && !m.IsInit() {
			errs = append(errs, fmt.Errorf("%w: a namespace of kind %q without one of process ids", stream.ErrCorrupt, kind))
		}
		for _, t := range m.Tasks[1:] {
			if refTo(t.Task.Refs, kind) != ref {
				errs = append(errs, fmt.Errorf("pid %d (%s) is in another %s namespace than pid %d, which can't be restored", t.PID, t.Comm, kind, m.Tasks[0].PID))
			}
		}
	}
	for id, ns := range m.Namespaces {
		errs = append(errs, m.checkNamespace(id, ns)...)
	}
	for _, n := range m.Networks {
		errs = append(errs, n.Check()...)
	}
	root := m.Tasks[0]
	switch {
	case m.IsInit() && root.PID != initPID:
		errs = append(errs, fmt.Errorf("%w: pid %d (%s) is the root of a pid namespace of its own, and not its init", stream.ErrCorrupt, root.PID, root.Comm))
	case m.IsInit() && m.Header.RootPID != initPID:
		errs = append(errs, fmt.Errorf("%w: the root is the init of a pid namespace, and HEADER says pid %d", stream.ErrCorrupt, m.Header.RootPID))
	case m.IsInit() && root.ExitSignal != int(unix.SIGCHLD):
		errs = append(errs, fmt.Errorf("%w: the init of a pid namespace sends signal %d when it ends, and not SIGCHLD", stream.ErrCorrupt, root.ExitSignal))
	case m.IsInit() && root.PPID != 0:
		errs = append(errs, fmt.Errorf("%w: the init of a pid namespace has a parent, pid %d", stream.ErrCorrupt, root.PPID))
	}
	return errs
}

// checkNamespace judges one.
func (m *Model) checkNamespace(id uint64, ns *record.Namespace) (errs []error) {
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: "+format, append([]any{stream.ErrCorrupt}, args...)...))
	}
	if refTo(m.Tasks[0].Task.Refs, ns.Kind) != id {
		bad("namespace %d of kind %q is not that of the root", id, ns.Kind)
	}
	for what, name := range map[string][]byte{"host": ns.Host, "domain": ns.Domain} {
		switch uts := ns.Kind == record.NamespaceUTS; {
		case !uts && name != nil:
			bad("a namespace of kind %q with a name for the %s", ns.Kind, what)
		case uts && name == nil:
			bad("a namespace of kind %q without a name for the %s", ns.Kind, what)
		case len(name) > maxHostBytes:
			bad("a namespace of kind %q with a name of %d bytes for the %s", ns.Kind, len(name), what)
		case bytes.IndexByte(name, 0) >= 0:
			bad("a namespace of kind %q with a zero byte in the name for the %s", ns.Kind, what)
		}
	}
	if ns.Kind != record.NamespaceIPC && len(ns.Sysctls) > 0 || ns.Kind != record.NamespaceCgroup && len(ns.Groups) > 0 {
		bad("a namespace of kind %q with %d settings and %d control groups", ns.Kind, len(ns.Sysctls), len(ns.Groups))
	}
	errs = append(errs, task.CheckCgroupRoots(initPID, ns.Groups, task.CgroupsKeep)...)
	return append(errs, ipc.CheckSysctls(ns.Sysctls)...)
}
