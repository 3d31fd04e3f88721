package judge

import (
	"fmt"

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

// isInit reports whether a process is that.
func (m *Model) isInit(t *Task) bool { return t == m.Tasks[0] && m.IsInit() }

func refTo(r *record.NamespaceRefs, kind string) uint64 {
	switch {
	case r == nil:
	case kind == record.NamespacePID:
		return r.PID
	case kind == record.NamespaceUTS:
		return r.UTS
	}
	return 0
}

var namespaceKinds = []string{record.NamespacePID, record.NamespaceUTS}

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
		if ref != 0 && kind != record.NamespacePID && !m.IsInit() {
			errs = append(errs, fmt.Errorf("%w: a namespace of kind %q without one of process ids", stream.ErrCorrupt, kind))
		}
		for _, t := range m.Tasks[1:] {
			if refTo(t.Task.Refs, kind) != ref {
				errs = append(errs, fmt.Errorf("pid %d (%s) is in another %s namespace than pid %d, which can't be restored", t.PID, t.Comm, kind, m.Tasks[0].PID))
			}
		}
	}
	for _, ns := range m.Namespaces {
		if len(ns.Host) > maxHostBytes || len(ns.Domain) > maxHostBytes || ns.Kind != record.NamespaceUTS && len(ns.Host)+len(ns.Domain) > 0 {
			errs = append(errs, fmt.Errorf("%w: a namespace of kind %q with names of %d and %d bytes", stream.ErrCorrupt, ns.Kind, len(ns.Host), len(ns.Domain)))
		}
	}
	root := m.Tasks[0]
	switch {
	case m.IsInit() && root.PID != initPID:
		errs = append(errs, fmt.Errorf("%w: pid %d (%s) is the root of a pid namespace of its own, and not its init", stream.ErrCorrupt, root.PID, root.Comm))
	case m.IsInit() && m.Header.RootPID != initPID:
		errs = append(errs, fmt.Errorf("%w: the root is the init of a pid namespace, and HEADER says pid %d", stream.ErrCorrupt, m.Header.RootPID))
	case m.IsInit() && root.PPID != 0:
		errs = append(errs, fmt.Errorf("%w: the init of a pid namespace has a parent, pid %d", stream.ErrCorrupt, root.PPID))
	}
	return errs
}
