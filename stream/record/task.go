package record

// Task begins the description of one process. Parents stand before their
// children, and the first is the root.
type Task struct {
	PID       int    `cbor:"pid"`
	PPID      int    `cbor:"ppid"`
	PGID      int    `cbor:"pgid"`
	SID       int    `cbor:"sid"`
	TPGID     int    `cbor:"tpgid,omitempty"` // foreground process group of its controlling terminal
	StartTime uint64 `cbor:"start_time"`      // clock ticks since boot, /proc/PID/stat field 22
	Comm      string `cbor:"comm"`
	Cmdline   []byte `cbor:"cmdline,omitempty"` // NUL-separated, for people; memory holds the real one
	// StopSig is the signal that has it stopped. StopTold: its parent, which is
	// in the tree, has been told so by wait(2).
	StopSig    int  `cbor:"stop_sig,omitempty"`
	StopTold   bool `cbor:"stop_told,omitempty"`
	ExitSignal int  `cbor:"exit_signal,omitempty"` // what its parent gets when it ends, see clone(2)
	// Zombie: it has ended and waits for its parent. There are no other
	// records of it.
	Zombie bool `cbor:"zombie,omitempty"`
	Status int  `cbor:"status,omitempty"` // of a zombie, as wait(2) gives it
	// The leader of its session or process group is a process outside of the
	// tree; a leader in neither place has ended.
	SIDOutside  bool `cbor:"sid_outside,omitempty"`
	PGIDOutside bool `cbor:"pgid_outside,omitempty"`
}

// Thread is one thread of a process and names what it shares with others.
// The first thread's record, whose tid is the pid, stands before the others'.
type Thread struct {
	PID  int        `cbor:"pid"`
	TID  int        `cbor:"tid"`
	Comm string     `cbor:"comm"`
	Refs ThreadRefs `cbor:"refs"`
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
	Of uint64 `cbor:"of"`
}

// FDTable is a table of descriptors, what CLONE_FILES shares. FD and LOCK
// records are part of it.
type FDTable struct {
	Object
	PID int `cbor:"pid"` // a thread that has it, for people
}

// IOCtx is an I/O context, what CLONE_IO shares.
type IOCtx struct {
	Object
	PID int `cbor:"pid"`
}

// SemUndo is a list of System V semaphore adjustments, what CLONE_SYSVSEM
// shares.
type SemUndo struct {
	Object
	PID    int         `cbor:"pid"`
	Adjust []SemAdjust `cbor:"adjust,omitempty"` // those that are not 0, set by set
}

// SemAdjust is what the kernel adds to a semaphore when the last task that has
// the list ends, see SEM_UNDO in semop(2).
type SemAdjust struct {
	Key    int32 `cbor:"key,omitempty"` // of the set, see semget(2)
	Set    int   `cbor:"set"`           // its id
	Sems   int   `cbor:"sems"`          // how many semaphores it has
	Num    int   `cbor:"num"`           // which of them
	Adjust int   `cbor:"adjust"`        // -32768 to 32767
}

// MM is an address space, what CLONE_VM shares: the layout that PR_SET_MM_MAP
// sets, see struct prctl_mm_map in uapi linux/prctl.h. VMA, INHERIT and PAGES
// records are part of it.
type MM struct {
	Object
	PID        int    `cbor:"pid"` // a process that has it
	StartCode  uint64 `cbor:"start_code"`
	EndCode    uint64 `cbor:"end_code"`
	StartData  uint64 `cbor:"start_data"`
	EndData    uint64 `cbor:"end_data"`
	StartBrk   uint64 `cbor:"start_brk"`
	Brk        uint64 `cbor:"brk"`
	StartStack uint64 `cbor:"start_stack"`
	ArgStart   uint64 `cbor:"arg_start"`
	ArgEnd     uint64 `cbor:"arg_end"`
	EnvStart   uint64 `cbor:"env_start"`
	EnvEnd     uint64 `cbor:"env_end"`
	Auxv       []byte `cbor:"auxv"`
	Membarrier uint64 `cbor:"membarrier,omitempty"` // the commands it registered with, see membarrier(2)
	LDT        []byte `cbor:"ldt,omitempty"`        // its segment descriptors on x86, see modify_ldt(2)
	// LockFuture: what is mapped from now on is locked: MCL_FUTURE 2, with
	// MCL_ONFAULT 6, see mlockall(2).
	LockFuture int    `cbor:"lock_future,omitempty"`
	Refs       ExeRef `cbor:"refs"`
}

// ExeRef is MM's refs map.
type ExeRef struct {
	Exe uint64 `cbor:"exe,omitempty"` // a REG or MEMFD
}

// FS is what CLONE_FS shares.
type FS struct {
	Object
	PID   int    `cbor:"pid"`
	Umask uint32 `cbor:"umask"`
	Refs  FSRefs `cbor:"refs"`
}

// FSRefs is FS's refs map.
type FSRefs struct {
	Cwd  uint64 `cbor:"cwd"`            // a DIR or PROCFILE
	Root uint64 `cbor:"root,omitempty"` // likewise; absent when it is the root of the mount namespace
}

// Creds are a thread's credentials(7) and capabilities(7).
type Creds struct {
	PID        int      `cbor:"pid"`
	TID        int      `cbor:"tid"`
	UID        []uint32 `cbor:"uid"` // real, effective, saved, file system
	GID        []uint32 `cbor:"gid"`
	Groups     []uint32 `cbor:"groups,omitempty"`
	Inh        uint64   `cbor:"cap_inh"`
	Prm        uint64   `cbor:"cap_prm"`
	Eff        uint64   `cbor:"cap_eff"`
	Bnd        uint64   `cbor:"cap_bnd"`
	Amb        uint64   `cbor:"cap_amb"`
	Securebits uint32   `cbor:"securebits,omitempty"`
	NoNewPrivs bool     `cbor:"no_new_privs,omitempty"`
	Dumpable   int      `cbor:"dumpable"` // PR_GET_DUMPABLE, of the process
}

// Limits are the resource limits, by RLIMIT_ number; ^0 is unlimited.
type Limits struct {
	PID    int     `cbor:"pid"`
	Limits []Limit `cbor:"limits"`
}

// Limit is one soft and hard limit, see getrlimit(2).
type Limit struct {
	_    struct{} `cbor:",toarray"`
	Soft uint64
	Hard uint64
}

// Sched is how a thread is scheduled, see sched(7).
type Sched struct {
	PID      int    `cbor:"pid"`
	TID      int    `cbor:"tid"`
	Attr     []byte `cbor:"attr"`     // struct sched_attr as sched_getattr(2) gave it
	Affinity []byte `cbor:"affinity"` // CPU mask, little-endian
	IOPrio   uint32 `cbor:"ioprio,omitempty"`
	// NUMA is absent for the default.
	NUMA *MemPolicy `cbor:"numa,omitempty"`
}

// MemPolicy says which NUMA nodes memory is taken from, see set_mempolicy(2).
type MemPolicy struct {
	Mode  int    `cbor:"mode"`            // MPOL_ with its flags
	Nodes []byte `cbor:"nodes,omitempty"` // bits, little-endian
}

// ProcAttr is what a process has under /proc/PID that can be written back.
type ProcAttr struct {
	PID            int    `cbor:"pid"`
	Personality    uint32 `cbor:"personality"`   // personality(2)
	OOMScoreAdj    int    `cbor:"oom_score_adj"` // -1000..1000
	CoredumpFilter uint64 `cbor:"coredump_filter"`
	Autogroup      int    `cbor:"autogroup,omitempty"` // nice value of the session's scheduling group
}

// Prctl holds a thread's attributes that prctl(2) gets and sets.
type Prctl struct {
	PID    int          `cbor:"pid"`
	TID    int          `cbor:"tid"`
	Values []PrctlValue `cbor:"values,omitempty"`
}

// PrctlValue is one attribute by the name of its PR_GET_ operation, lower case
// and without that prefix.
type PrctlValue struct {
	Name  string `cbor:"name"`
	Value uint64 `cbor:"value"`
}

// Sigactions are the signal actions other than the default with no flags, what
// CLONE_SIGHAND shares.
type Sigactions struct {
	Object
	PID     int         `cbor:"pid"`
	Actions []Sigaction `cbor:"actions,omitempty"`
}

// Sigaction is the kernel's struct sigaction of one signal.
type Sigaction struct {
	Signal   int    `cbor:"signal"`
	Handler  uint64 `cbor:"handler"` // address; 0 SIG_DFL, 1 SIG_IGN
	Flags    uint64 `cbor:"flags"`
	Restorer uint64 `cbor:"restorer,omitempty"`
	Mask     uint64 `cbor:"mask"`
}

// Signals is a thread's signal state.
type Signals struct {
	PID      int      `cbor:"pid"`
	TID      int      `cbor:"tid"`
	Blocked  uint64   `cbor:"blocked"`
	Pending  [][]byte `cbor:"pending,omitempty"` // siginfo_t each, in queue order
	Shared   [][]byte `cbor:"shared,omitempty"`  // the process's, with its first thread
	AltStack AltStack `cbor:"altstack"`
}

// AltStack is stack_t, see sigaltstack(2).
type AltStack struct {
	Sp    uint64 `cbor:"sp"`
	Flags uint32 `cbor:"flags"`
	Size  uint64 `cbor:"size"`
}

// Itimers are the interval timers of setitimer(2) that run, times in µs.
type Itimers struct {
	PID    int      `cbor:"pid"`
	Timers []Itimer `cbor:"timers"`
}

// Itimer is one of them.
type Itimer struct {
	Which      int   `cbor:"which"` // ITIMER_REAL 0, VIRTUAL 1, PROF 2
	ValueUS    int64 `cbor:"value_us"`
	IntervalUS int64 `cbor:"interval_us"`
}

// Regs are a thread's registers as ptrace(2) gives them.
type Regs struct {
	PID    int    `cbor:"pid"`
	TID    int    `cbor:"tid"`
	GP     []byte `cbor:"gp"`               // regset NT_PRSTATUS
	XState []byte `cbor:"xstate,omitempty"` // regset NT_X86_XSTATE
	IP     uint64 `cbor:"ip"`               // for people: the instruction pointer in GP
	// Syscall is the interrupted call's number where GP asks for a restart,
	// else -1.
	Syscall int `cbor:"syscall"`
	// Left is how much of the time is left that the interrupted call was to
	// wait for, ns, where it is a relative time in the registers or in memory
	// that the kernel does not keep up to date.
	Left *int64 `cbor:"left_ns,omitempty"`
}

// Rseq is a thread's registration with rseq(2).
type Rseq struct {
	PID       int    `cbor:"pid"`
	TID       int    `cbor:"tid"`
	Addr      uint64 `cbor:"addr"`
	Size      uint32 `cbor:"size"`
	Signature uint32 `cbor:"signature"`
}

// UserPtrs are addresses in the thread's memory the kernel keeps for it.
type UserPtrs struct {
	PID           int    `cbor:"pid"`
	TID           int    `cbor:"tid"`
	RobustList    uint64 `cbor:"robust_list,omitempty"` // get_robust_list(2)
	RobustLen     uint64 `cbor:"robust_len,omitempty"`
	ClearChildTID uint64 `cbor:"clear_child_tid,omitempty"` // set_tid_address(2)
}
