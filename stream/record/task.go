package record

// Task begins the description of one process. Parents stand before their
// children, and the first is the root.
type Task struct {
	PID       int    `cbor:"pid" range:"pid"`                  // the process
	PPID      int    `cbor:"ppid" range:"pid or 0"`            // its parent
	PGID      int    `cbor:"pgid" range:"pid or 0"`            // its process group
	SID       int    `cbor:"sid" range:"pid or 0"`             // its session
	TPGID     int    `cbor:"tpgid,omitempty" range:"pid"`      // foreground process group of its controlling terminal
	StartTime uint64 `cbor:"start_time" unit:"clock tick"`     // since boot, /proc/PID/stat field 22
	Comm      string `cbor:"comm" range:"..64"`                // its name, as /proc/PID/comm has it
	Cmdline   []byte `cbor:"cmdline,omitempty"`                // NUL-separated, for people; memory holds the real one
	StopSig   int    `cbor:"stop_sig,omitempty" range:"1..64"` // the signal that has it stopped
	// StopTold: its parent, which is in the tree, has been told by wait(2) that it
	// is stopped.
	StopTold   bool `cbor:"stop_told,omitempty"`
	ExitSignal int  `cbor:"exit_signal,omitempty" range:"0..64"` // what its parent gets when it ends, see clone(2)
	// Zombie: it has ended and waits for its parent. There are no other
	// records of it.
	Zombie bool `cbor:"zombie,omitempty"`
	Status int  `cbor:"status,omitempty" range:"0..2^16-1"` // of a zombie, as wait(2) gives it
	// The leader of its session is a process outside of the tree; one that is
	// neither outside nor in the tree has ended.
	SIDOutside  bool `cbor:"sid_outside,omitempty"`
	PGIDOutside bool `cbor:"pgid_outside,omitempty"` // likewise the leader of its process group
	// UsualPID is, in a raw stream, its process id where the filters are, if the tree is
	// in a pid namespace of its own. So is then what HEADER says of tracer and hold, and
	// what an object says of kcmp.
	UsualPID int            `cbor:"usual_pid,omitempty" range:"pid" since:"0.2"`
	Refs     *NamespaceRefs `cbor:"refs,omitempty" since:"0.2"` // its namespaces, unless they are those of ckpt-collect
}

// Thread is one thread of a process, with names of what it shares with others.
// The first thread's record, whose tid is the pid, stands before the others'.
type Thread struct {
	PID  int        `cbor:"pid" range:"pid"`   // its process
	TID  int        `cbor:"tid" range:"pid"`   // the thread
	Comm string     `cbor:"comm" range:"..64"` // its name, as /proc/PID/task/TID/comm has it
	Refs ThreadRefs `cbor:"refs"`              // what it has
	// It is the first one and has ended, while others go on; refs is then what the next one has.
	Ended  bool `cbor:"ended,omitempty" since:"0.2"`
	Status int  `cbor:"status,omitempty" range:"0..2^16-1" since:"0.2"` // how it ended, as wait(2) gives it
}

// ThreadRefs is Thread's refs map, the objects that clone(2) shares or copies.
type ThreadRefs struct {
	MM      uint64 `cbor:"mm"`                // an MM
	Sighand uint64 `cbor:"sighand"`           // a SIGACTIONS
	Files   uint64 `cbor:"files"`             // an FDTABLE
	FS      uint64 `cbor:"fs"`                // an FS
	IO      uint64 `cbor:"io,omitempty"`      // an IOCTX, absent when it has none
	SysVSem uint64 `cbor:"sysvsem,omitempty"` // a SEMUNDO, absent when it has none
}

// PartOf is the refs map of records that are part of an object: they describe
// it as much as its own record does.
type PartOf struct {
	Of uint64 `cbor:"of"` // the object
}

// FDTable is a table of descriptors, what CLONE_FILES shares. FD and LOCK
// records are part of it.
type FDTable struct {
	Object
	TID int `cbor:"tid" range:"pid"` // a thread that has it, for people
}

// IOCtx is an I/O context, what CLONE_IO shares.
type IOCtx struct {
	Object
	TID int `cbor:"tid" range:"pid"` // a thread that has it, for people
}

// SemUndo is a list of System V semaphore adjustments, what CLONE_SYSVSEM
// shares.
type SemUndo struct {
	Object
	TID    int         `cbor:"tid" range:"pid"`  // a thread that has it
	Adjust []SemAdjust `cbor:"adjust,omitempty"` // those that are not 0, set by set
}

// SemAdjust is what the kernel adds to a semaphore when the last task that has
// the list ends, see SEM_UNDO in semop(2).
type SemAdjust struct {
	Key    int32 `cbor:"key,omitempty"`                // of the set, see semget(2)
	Set    int   `cbor:"set" range:"0..2^31-1"`        // its id
	Sems   int   `cbor:"sems" range:"1..2^16"`         // how many semaphores it has
	Num    int   `cbor:"num" range:"0..2^16-1"`        // which of them
	Adjust int   `cbor:"adjust" range:"-2^15..2^15-1"` // what is added
}

// MM is an address space, what CLONE_VM shares: the layout that PR_SET_MM_MAP
// sets, see struct prctl_mm_map in uapi linux/prctl.h. VMA, INHERIT and PAGES
// records are part of it.
type MM struct {
	Object
	PID        int    `cbor:"pid" range:"pid"`              // a process that has it
	StartCode  uint64 `cbor:"start_code" range:"address"`   // where the program's code begins
	EndCode    uint64 `cbor:"end_code" range:"address"`     // and ends
	StartData  uint64 `cbor:"start_data" range:"address"`   // where its data begins
	EndData    uint64 `cbor:"end_data" range:"address"`     // and ends
	StartBrk   uint64 `cbor:"start_brk" range:"address"`    // where the heap of brk(2) begins
	Brk        uint64 `cbor:"brk" range:"address"`          // and ends
	StartStack uint64 `cbor:"start_stack" range:"address"`  // where the first thread's stack began
	ArgStart   uint64 `cbor:"arg_start" range:"address"`    // where the arguments begin
	ArgEnd     uint64 `cbor:"arg_end" range:"address"`      // and end
	EnvStart   uint64 `cbor:"env_start" range:"address"`    // where the environment begins
	EnvEnd     uint64 `cbor:"env_end" range:"address"`      // and ends
	Auxv       []byte `cbor:"auxv"`                         // /proc/PID/auxv
	Membarrier uint64 `cbor:"membarrier,omitempty"`         // the commands it registered with, see membarrier(2)
	LDT        []byte `cbor:"ldt,omitempty" range:"..2^16"` // its segment descriptors on x86, see modify_ldt(2)
	// LockFuture: what is mapped from now on is locked: MCL_FUTURE 2, with
	// MCL_ONFAULT 6, see mlockall(2).
	LockFuture int `cbor:"lock_future,omitempty" range:"0|2|6"`
	// Pkeys has bit n set if protection key n is allocated, see pkey_alloc(2).
	Pkeys uint32 `cbor:"pkeys,omitempty" range:"0..2^16-1" since:"0.2"`
	Refs  ExeRef `cbor:"refs"` // its program
}

// ExeRef is MM's refs map.
type ExeRef struct {
	Exe uint64 `cbor:"exe,omitempty"` // a REG or MEMFD
}

// FS is what CLONE_FS shares.
type FS struct {
	Object
	TID   int    `cbor:"tid" range:"pid"`        // a thread that has it
	Umask uint32 `cbor:"umask" range:"0..2^9-1"` // umask(2)
	Refs  FSRefs `cbor:"refs"`                   // its folders
}

// FSRefs is FS's refs map.
type FSRefs struct {
	Cwd  uint64 `cbor:"cwd"`            // a DIR or PROCFILE
	Root uint64 `cbor:"root,omitempty"` // likewise; absent when it is the root of the mount namespace
}

// Creds are a thread's credentials(7) and capabilities(7).
type Creds struct {
	PID        int      `cbor:"pid" range:"pid"`                 // its process
	TID        int      `cbor:"tid" range:"pid"`                 // the thread
	UID        []uint32 `cbor:"uid" range:"4"`                   // user ids: real, effective, saved, file system
	GID        []uint32 `cbor:"gid" range:"4"`                   // group ids: real, effective, saved, file system
	Groups     []uint32 `cbor:"groups,omitempty" range:"..2^16"` // supplementary groups
	Inh        uint64   `cbor:"cap_inh"`                         // inheritable capabilities, a bit for each
	Prm        uint64   `cbor:"cap_prm"`                         // permitted ones
	Eff        uint64   `cbor:"cap_eff"`                         // effective ones
	Bnd        uint64   `cbor:"cap_bnd"`                         // the bounding set
	Amb        uint64   `cbor:"cap_amb"`                         // ambient ones
	Securebits uint32   `cbor:"securebits,omitempty"`            // PR_GET_SECUREBITS
	NoNewPrivs bool     `cbor:"no_new_privs,omitempty"`          // PR_GET_NO_NEW_PRIVS
	Dumpable   int      `cbor:"dumpable" range:"0|1|2"`          // PR_GET_DUMPABLE, of the process
}

// Limits are the resource limits of a process.
type Limits struct {
	PID    int     `cbor:"pid" range:"pid"`   // the process
	Limits []Limit `cbor:"limits" range:"16"` // by RLIMIT_ number
}

// Limit is one soft and hard limit, see getrlimit(2).
type Limit struct {
	_    struct{} `cbor:",toarray"`
	Soft uint64   // 2^64-1: unlimited
	Hard uint64   // 2^64-1: unlimited
}

// Sched is how a thread is scheduled, see sched(7).
type Sched struct {
	PID      int    `cbor:"pid" range:"pid"`      // its process
	TID      int    `cbor:"tid" range:"pid"`      // the thread
	Attr     []byte `cbor:"attr" range:"48..128"` // struct sched_attr as sched_getattr(2) gave it
	Affinity []byte `cbor:"affinity"`             // CPU mask, little-endian
	IOPrio   uint32 `cbor:"ioprio,omitempty"`     // ioprio_get(2)
	// NUMA is absent for the default.
	NUMA *MemPolicy `cbor:"numa,omitempty"`
}

// MemPolicy says which NUMA nodes memory is taken from, see set_mempolicy(2).
type MemPolicy struct {
	Mode  int    `cbor:"mode" range:"0.."` // MPOL_ with its flags
	Nodes []byte `cbor:"nodes,omitempty"`  // bits, little-endian
}

// ProcAttr is what a process has under /proc/PID that can be written back.
type ProcAttr struct {
	PID            int    `cbor:"pid" range:"pid"`                     // the process
	Personality    uint32 `cbor:"personality"`                         // personality(2)
	OOMScoreAdj    int    `cbor:"oom_score_adj" range:"-1000..1000"`   // see proc_pid_oom_score_adj(5)
	CoredumpFilter uint64 `cbor:"coredump_filter" range:"0..2^9-1"`    // see core(5)
	Autogroup      int    `cbor:"autogroup,omitempty" range:"-20..19"` // nice value of the session's scheduling group
}

// Prctl holds a thread's attributes that prctl(2) gets and sets.
type Prctl struct {
	PID    int          `cbor:"pid" range:"pid"`  // its process
	TID    int          `cbor:"tid" range:"pid"`  // the thread
	Values []PrctlValue `cbor:"values,omitempty"` // those other than the default
}

// PrctlValue is one attribute.
type PrctlValue struct {
	Name  string `cbor:"name"`  // of its PR_GET_ operation, lower case and without that prefix; amx_tiles: may use these registers, see arch_prctl(2)
	Value uint64 `cbor:"value"` // what that gives
}

// Sigactions are the signal actions other than the default with no flags, what
// CLONE_SIGHAND shares.
type Sigactions struct {
	Object
	PID     int         `cbor:"pid" range:"pid"`   // a process that has them
	Actions []Sigaction `cbor:"actions,omitempty"` // one for each signal
}

// Sigaction is the kernel's struct sigaction of one signal.
type Sigaction struct {
	Signal   int    `cbor:"signal" range:"1..64"` // the signal
	Handler  uint64 `cbor:"handler"`              // address; 0 SIG_DFL, 1 SIG_IGN
	Flags    uint64 `cbor:"flags"`                // SA_ bits, see sigaction(2)
	Restorer uint64 `cbor:"restorer,omitempty"`   // address of sa_restorer
	Mask     uint64 `cbor:"mask"`                 // what is blocked in the handler, bit 0 for signal 1
}

// Signals is a thread's signal state.
type Signals struct {
	PID      int      `cbor:"pid" range:"pid"`                   // its process
	TID      int      `cbor:"tid" range:"pid"`                   // the thread
	Blocked  uint64   `cbor:"blocked"`                           // its mask, bit 0 for signal 1
	Pending  [][]byte `cbor:"pending,omitempty" holds:"siginfo"` // siginfo_t each, 128 bytes, in queue order
	Shared   [][]byte `cbor:"shared,omitempty" holds:"siginfo"`  // the process's, with its first thread
	AltStack AltStack `cbor:"altstack"`                          // sigaltstack(2)
}

// AltStack is stack_t, see sigaltstack(2).
type AltStack struct {
	Sp    uint64 `cbor:"sp" range:"address"` // ss_sp
	Flags uint32 `cbor:"flags"`              // ss_flags
	Size  uint64 `cbor:"size" unit:"byte"`   // ss_size
}

// Itimers are the interval timers of setitimer(2) that run.
type Itimers struct {
	PID    int      `cbor:"pid" range:"pid"`    // the process
	Timers []Itimer `cbor:"timers" range:"..3"` // those that run
}

// Itimer is one of them.
type Itimer struct {
	Which      int   `cbor:"which" range:"0|1|2"`               // ITIMER_REAL 0, VIRTUAL 1, PROF 2
	ValueUS    int64 `cbor:"value_us" unit:"µs" range:"0.."`    // until it ends
	IntervalUS int64 `cbor:"interval_us" unit:"µs" range:"0.."` // and then each time; 0: not again
}

// Regs are a thread's registers as ptrace(2) gives them.
type Regs struct {
	PID    int    `cbor:"pid" range:"pid"`    // its process
	TID    int    `cbor:"tid" range:"pid"`    // the thread
	GP     []byte `cbor:"gp"`                 // regset NT_PRSTATUS; 216 bytes on amd64
	XState []byte `cbor:"xstate,omitempty"`   // regset NT_X86_XSTATE; zeros at its end may be left out
	IP     uint64 `cbor:"ip" range:"address"` // for people: the instruction pointer in GP
	// Syscall is the interrupted call's number where GP asks for a restart,
	// else -1.
	Syscall int `cbor:"syscall" range:"-1.."`
	// Left is how much of the time is left that the interrupted call was to
	// wait for, where it is a relative time in the registers or in memory
	// that the kernel does not keep up to date.
	Left *int64 `cbor:"left_ns,omitempty" unit:"ns" range:"0.."`
}

// Rseq is a thread's registration with rseq(2).
type Rseq struct {
	PID       int    `cbor:"pid" range:"pid"`      // its process
	TID       int    `cbor:"tid" range:"pid"`      // the thread
	Addr      uint64 `cbor:"addr" range:"address"` // of its struct rseq
	Size      uint32 `cbor:"size" unit:"byte"`     // of its struct rseq
	Signature uint32 `cbor:"signature"`            // what stands before each abort handler
}

// UserPtrs are addresses in the thread's memory the kernel keeps for it.
type UserPtrs struct {
	PID           int    `cbor:"pid" range:"pid"`                           // its process
	TID           int    `cbor:"tid" range:"pid"`                           // the thread
	RobustList    uint64 `cbor:"robust_list,omitempty" range:"address"`     // get_robust_list(2)
	RobustLen     uint64 `cbor:"robust_len,omitempty" unit:"byte"`          // of its head
	ClearChildTID uint64 `cbor:"clear_child_tid,omitempty" range:"address"` // set_tid_address(2)
}
