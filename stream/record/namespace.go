package record

// Namespace is a namespace of the tree's own, see namespaces(7). The root is the init of
// one of process ids.
type Namespace struct {
	Object
	Kind string `cbor:"kind" range:"pid|uts|mnt|ipc|cgroup|net"` // what is apart in it, as /proc/PID/ns names it
	// Of one of uts.
	Host   []byte `cbor:"host,omitzero" range:"..64"`   // the host's name, see sethostname(2); may be empty
	Domain []byte `cbor:"domain,omitzero" range:"..64"` // its NIS domain, see setdomainname(2); may be empty
	// Of one of ipc: its limits and settings.
	Sysctls []Sysctl `cbor:"sysctls,omitempty"`
	// Of one of cgroup: its root in each hierarchy, which is / to who is in it.
	Groups []Cgroup `cbor:"groups,omitempty"`
}

// Kinds of namespaces.
const (
	NamespacePID    = "pid"
	NamespaceUTS    = "uts"
	NamespaceMnt    = "mnt" // its mounts are MOUNT records
	NamespaceIPC    = "ipc"
	NamespaceCgroup = "cgroup"
	NamespaceNet    = "net" // what is in it say records that are part of it
)

// NamespaceRefs is Task's refs map: the namespaces that the process is in, but for those
// that ckpt-collect is in, too.
type NamespaceRefs struct {
	PID uint64 `cbor:"pid,omitempty" since:"0.2"` // a NAMESPACE
	UTS uint64 `cbor:"uts,omitempty" since:"0.2"` // a NAMESPACE
	Mnt uint64 `cbor:"mnt,omitempty" since:"0.2"` // a NAMESPACE
	IPC uint64 `cbor:"ipc,omitempty" since:"0.2"` // a NAMESPACE

	Cgroup uint64 `cbor:"cgroup,omitempty" since:"0.2"` // a NAMESPACE
	Net    uint64 `cbor:"net,omitempty" since:"0.2"`    // a NAMESPACE
}
