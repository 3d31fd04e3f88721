package record

// Stages a stream can be in.
const (
	StageRaw    = "raw"    // as ckpt-collect wrote it: every descriptor stands alone
	StageShared = "shared" // as ckpt-dedup wrote it: every kernel object stands once
)

// What becomes of the target.
const (
	LeaveRunning = "running"
	LeaveStopped = "stopped"
	LeaveKilled  = "killed"
)

// Header is the meta of HEADER: where and of what the checkpoint was taken.
type Header struct {
	Checkpoint string `cbor:"checkpoint"`          // unique name of this checkpoint, 32 hex digits
	Stage      string `cbor:"stage"`               // StageRaw or StageShared
	Tool       string `cbor:"tool"`                // program and version that collected
	TimeNS     int64  `cbor:"time_ns"`             // when the target was frozen, ns since the epoch
	Host       string `cbor:"host"`                // uname nodename
	Kernel     string `cbor:"kernel"`              // uname release
	BootID     string `cbor:"boot_id"`             // /proc/sys/kernel/random/boot_id
	Arch       string `cbor:"arch"`                // GOARCH
	PageSize   int64  `cbor:"page_size"`           // bytes
	XFeatures  uint64 `cbor:"xfeatures"`           // xsave components in use (Intel SDM vol. 1 §13.4)
	VDSO       []byte `cbor:"vdso,omitempty"`      // SHA-256 of the vdso's pages: a task may be inside it
	VDSOBytes  int64  `cbor:"vdso_size,omitempty"` // length of the vdso, bytes
	RootPID    int    `cbor:"root_pid"`            // the process that was named
	Tracer     int    `cbor:"tracer"`              // the thread that holds the tasks by ptrace(2)
	Processes  int    `cbor:"processes"`           // zombies are counted
	Threads    int    `cbor:"threads"`
	StopUS     int64  `cbor:"stop_us"`        // how long it took to stop them all, µs
	DescribeUS int64  `cbor:"describe_us"`    // how long it took to describe them then, µs
	Hold       *Hold  `cbor:"hold,omitempty"` // how to ask that the target be held
	// Leave is what is to become of the target; absent in streams of older versions.
	Leave string `cbor:"leave,omitempty"`

	Clocks *Clocks `cbor:"clocks,omitempty"` // absent in streams of older versions
}

// Clocks are what the target's clocks showed at one moment, when it had been
// described, ns.
type Clocks struct {
	Monotonic int64 `cbor:"monotonic_ns"` // CLOCK_MONOTONIC as the target saw it
	Boottime  int64 `cbor:"boottime_ns"`
	Realtime  int64 `cbor:"realtime_ns"` // since the epoch
	// By how much the target's time namespace differs from the boot's first.
	MonotonicOffset int64 `cbor:"monotonic_offset_ns,omitempty"`
	BoottimeOffset  int64 `cbor:"boottime_offset_ns,omitempty"`
}

// Hold names the pipe by which a filter on the same host holds the target
// still: it opens /proc/PID/fd/FD for writing, see the package documentation.
type Hold struct {
	PID       int    `cbor:"pid"`        // the collector
	StartTime uint64 `cbor:"start_time"` // field 22 of its /proc/PID/stat, clock ticks
	FD        int    `cbor:"fd"`
	BootID    string `cbor:"boot_id"`
	// Mark is a descriptor of the collector by which it says that FD is a hold.
	Mark int `cbor:"mark,omitempty"`
}

// End is the meta of END.
type End struct {
	Totals
	FrozenUS int64 `cbor:"frozen_us,omitempty"` // how long the target had stood still when END was written, µs
}

// Abort is the meta of ABORT: the first cause of a failure.
type Abort struct {
	Tool   string `cbor:"tool"`   // the program that failed
	Reason string `cbor:"reason"` // one sentence
}

// Object is the part of meta every Shareable record has. ckpt-collect fills
// ID, Genid and one of Kcmp and Ident; ckpt-dedup replaces all four by Objref.
type Object struct {
	// ID names this encounter in a raw stream, from 1; Refs of raw records
	// point to it.
	ID uint64 `cbor:"id,omitempty"`
	// Genid is a 32-bit digest that is equal for equal objects: dev ^ ino ^
	// pos for open files. Unequal objects may collide.
	Genid uint32 `cbor:"genid,omitempty"`
	// Kcmp is where kcmp(2) finds the object.
	Kcmp *Kcmp `cbor:"kcmp,omitempty"`
	// Ident is equal exactly for equal objects, where the kernel has such a
	// name for them: device and inode number.
	Ident []byte `cbor:"ident,omitempty"`
	// Objref names the object in a shared stream, from 1.
	Objref uint64 `cbor:"objref,omitempty"`
}

// Kcmp is one argument pair of kcmp(2).
type Kcmp struct {
	Type int    `cbor:"type"` // KCMP_FILE = 0 and so on
	PID  int    `cbor:"pid"`
	Idx  uint64 `cbor:"idx"` // the descriptor for KCMP_FILE, else 0
}

// ObjrefUse is the meta of OBJREF: the object of that type and number is met
// again here.
type ObjrefUse struct {
	Objref uint64 `cbor:"objref"`
	Type   Type   `cbor:"type"`
}

// InodeRef is the refs map of records that use an inode. In a raw stream the
// number is an Object.ID, in a shared one an Object.Objref; 0 means none.
type InodeRef struct {
	Inode uint64 `cbor:"inode,omitempty"`
}
