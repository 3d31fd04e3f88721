// Package record has the record types of ckpt's streams and what their metas say:
// RECORDS.md is made of it. Package stream reads and writes them.
//
// In a record's struct, the tag cbor names the field; unit, range and since say
// for the specification what its Go type does not. A range bounds a number, or the
// length of a string or array: "1..", "..249", "32", "0|2|6", and pid, fd and
// address for what these can be.
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
	Checkpoint string `cbor:"checkpoint" range:"32"`                       // unique name of this checkpoint, hex digits
	Stage      string `cbor:"stage" range:"raw|shared"`                    // as ckpt-collect or as ckpt-dedup wrote it
	Tool       string `cbor:"tool"`                                        // program and version that collected
	TimeNS     int64  `cbor:"time_ns" unit:"ns"`                           // when the target was frozen, since the epoch
	Host       string `cbor:"host"`                                        // nodename of uname(2)
	Kernel     string `cbor:"kernel"`                                      // release of uname(2)
	BootID     string `cbor:"boot_id" range:"36"`                          // /proc/sys/kernel/random/boot_id
	Arch       string `cbor:"arch"`                                        // GOARCH: amd64 and so on
	PageSize   int64  `cbor:"page_size" unit:"byte" range:"1.."`           // of a page of memory
	XFeatures  uint64 `cbor:"xfeatures"`                                   // xsave components in use (Intel SDM vol. 1 §13.4)
	VDSO       []byte `cbor:"vdso,omitempty" range:"32"`                   // SHA-256 of the vdso's pages: a task may be inside it
	VDSOBytes  int64  `cbor:"vdso_size,omitempty" unit:"byte" range:"0.."` // length of the vdso
	// What the program could have used of the CPU, by the names in /proc/cpuinfo, sorted.
	CPUFeatures []string `cbor:"cpu_features,omitempty" since:"0.2"`
	CPUVendor   string   `cbor:"cpu_vendor,omitempty" since:"0.2"` // its vendor_id there
	// The pages of the vdso without the zeros at their end, for other kernels.
	VDSOCode []byte `cbor:"vdso_code,omitempty" range:"..65536" since:"0.2"`
	// A thread that was inside the vdso, or has a signal handler that returns there.
	VDSOInside int   `cbor:"vdso_inside,omitempty" range:"pid" since:"0.2"`
	RootPID    int   `cbor:"root_pid" range:"pid"`              // the process that was named
	Tracer     int   `cbor:"tracer" range:"pid"`                // the thread that holds the tasks by ptrace(2)
	Processes  int   `cbor:"processes" range:"1.."`             // how many there are; zombies are counted
	Threads    int   `cbor:"threads" range:"1.."`               // how many there are
	StopUS     int64 `cbor:"stop_us" unit:"µs" range:"0.."`     // how long it took to stop them all
	DescribeUS int64 `cbor:"describe_us" unit:"µs" range:"0.."` // how long it took to describe them then
	Hold       *Hold `cbor:"hold,omitempty"`                    // how to ask that the target be held
	// Leave is what is to become of the target.
	Leave string `cbor:"leave,omitempty" range:"running|stopped|killed"`

	Clocks *Clocks `cbor:"clocks,omitempty"` // what the target's clocks showed
}

// Clocks are what the target's clocks showed at one moment, when it had been
// described.
type Clocks struct {
	Monotonic int64 `cbor:"monotonic_ns" unit:"ns"` // CLOCK_MONOTONIC as the target saw it
	Boottime  int64 `cbor:"boottime_ns" unit:"ns"`  // CLOCK_BOOTTIME as the target saw it
	Realtime  int64 `cbor:"realtime_ns" unit:"ns"`  // CLOCK_REALTIME, since the epoch
	// By how much the monotonic clock of the target's time namespace differs from
	// the boot's first.
	MonotonicOffset int64 `cbor:"monotonic_offset_ns,omitempty" unit:"ns"`
	BoottimeOffset  int64 `cbor:"boottime_offset_ns,omitempty" unit:"ns"` // likewise of the boot time clock
}

// Hold names the pipe by which a filter on the same host holds the target
// still: it opens /proc/PID/fd/FD for writing, see the documentation of package
// stream.
type Hold struct {
	PID       int    `cbor:"pid" range:"pid"`              // the collector
	StartTime uint64 `cbor:"start_time" unit:"clock tick"` // field 22 of its /proc/PID/stat
	FD        int    `cbor:"fd" range:"fd"`                // the descriptor of the pipe
	BootID    string `cbor:"boot_id" range:"36"`           // of the host, as HEADER's
	// Mark is a descriptor of the collector by which it says that FD is a hold.
	Mark int `cbor:"mark,omitempty" range:"fd"`
}

// End is the meta of END: the stream is whole.
type End struct {
	Totals
	FrozenUS int64 `cbor:"frozen_us,omitempty" unit:"µs" range:"0.."` // how long the target had stood still when END was written
}

// Totals count what a stream holds before its END record.
type Totals struct {
	Records   int64 `cbor:"records" range:"0.."`                // how many stand before END
	MetaBytes int64 `cbor:"meta_bytes" unit:"byte" range:"0.."` // of the meta of all of them
	DataBytes int64 `cbor:"data_bytes" unit:"byte" range:"0.."` // of the data of all of them
}

// Abort is the meta of ABORT: the first cause of a failure.
type Abort struct {
	Tool   string `cbor:"tool"`                  // the program that failed
	Reason string `cbor:"reason" range:"..4096"` // one sentence
}

// Object is the part of meta every Shareable record has. ckpt-collect fills
// ID, Genid and one of Kcmp and Ident; ckpt-dedup replaces all four by Objref.
type Object struct {
	// ID names this encounter in a raw stream; refs of raw records point to it.
	ID uint64 `cbor:"id,omitempty" range:"1.."`
	// Genid is a digest that is equal for equal objects: dev ^ ino ^ pos for open
	// files. Unequal objects may collide.
	Genid uint32 `cbor:"genid,omitempty"`
	// Kcmp is where kcmp(2) finds the object.
	Kcmp *Kcmp `cbor:"kcmp,omitempty"`
	// Ident is equal exactly for equal objects, where the kernel has such a
	// name for them: device and inode number.
	Ident []byte `cbor:"ident,omitempty"`
	// Objref names the object in a shared stream.
	Objref uint64 `cbor:"objref,omitempty" range:"1.."`
}

// Kcmp is one argument pair of kcmp(2).
type Kcmp struct {
	Type int    `cbor:"type" range:"0..7"` // KCMP_FILE = 0 and so on
	TID  int    `cbor:"tid" range:"pid"`   // a thread that has the object
	Idx  uint64 `cbor:"idx" range:"fd"`    // the descriptor for KCMP_FILE, else 0
}

// ObjrefUse is the meta of OBJREF: the object of that type and number is met
// again here.
type ObjrefUse struct {
	Objref uint64 `cbor:"objref" range:"1.."` // its number
	Type   Type   `cbor:"type"`               // its record type
}

// InodeRef is the refs map of records that use an inode. In a raw stream the
// number is an Object.ID, in a shared one an Object.Objref.
type InodeRef struct {
	Inode uint64 `cbor:"inode,omitempty"` // the object that is open or whose data it is
}
