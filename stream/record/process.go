package record

// Timers are the timers of timer_create(2) of a process.
type Timers struct {
	PID    int     `cbor:"pid" range:"pid"` // the process
	Timers []Timer `cbor:"timers"`          // those there are
}

// Timer is one of them. Its times are durations, also for one that was set to
// an absolute time: the kernel does not tell which it was.
type Timer struct {
	ID     int    `cbor:"id" range:"0..2^31-1"`                        // the kernel's timer_t
	Clock  int    `cbor:"clock" range:"-2^31..2^31-1" holds:"clockid"` // clockid_t; negative for a CPU clock, see clock_getcpuclockid(3)
	Notify int    `cbor:"notify" range:"0|1|2|4"`                      // SIGEV_SIGNAL 0, NONE 1, THREAD 2, THREAD_ID 4
	Signal int    `cbor:"signal,omitempty" range:"0..64"`              // sigev_signo
	Value  uint64 `cbor:"value,omitempty"`                             // sigev_value
	TID    int    `cbor:"tid,omitempty" range:"pid"`                   // with THREAD_ID, who gets the signal; absent if that thread has ended

	ValueNS    int64 `cbor:"value_ns,omitempty" unit:"ns" range:"0.."`    // until it ends; absent: it is not set
	IntervalNS int64 `cbor:"interval_ns,omitempty" unit:"ns" range:"0.."` // and then each time
	Overrun    int   `cbor:"overrun,omitempty" range:"0..2^31-1"`         // timer_getoverrun(2), for people: it can't be set
}

// Seccomp is how a thread is confined by seccomp(2). There is none for a thread
// that is not.
type Seccomp struct {
	PID     int             `cbor:"pid" range:"pid"`   // its process
	TID     int             `cbor:"tid" range:"pid"`   // the thread
	Mode    int             `cbor:"mode" range:"1|2"`  // SECCOMP_MODE_STRICT 1, FILTER 2
	Filters []SeccompFilter `cbor:"filters,omitempty"` // in the order of installation
	// Common is how many of the filters, from the first on, all threads of the
	// process have.
	Common int `cbor:"common,omitempty" range:"0.."`
}

// SeccompFilter is one filter.
type SeccompFilter struct {
	Flags   uint64 `cbor:"flags,omitempty"`        // SECCOMP_FILTER_FLAG_LOG 2
	Program []byte `cbor:"program" range:"..2^15"` // struct sock_filter each 8 bytes
}

// Cgroups are the control groups a process is in, see cgroups(7).
type Cgroups struct {
	PID    int      `cbor:"pid" range:"pid"` // the process
	Groups []Cgroup `cbor:"groups"`          // those of its first thread
	// Threads are those in other groups than the process's first.
	Threads []ThreadCgroups `cbor:"threads,omitempty"`
}

// ThreadCgroups are the groups of one thread where they differ.
type ThreadCgroups struct {
	TID    int      `cbor:"tid" range:"pid"` // the thread
	Groups []Cgroup `cbor:"groups"`          // its groups
}

// Cgroup is a group in one hierarchy.
type Cgroup struct {
	Hierarchy string `cbor:"hierarchy,omitempty"` // version 1: controllers, or name=NAME, as /proc/PID/cgroup has them; absent: version 2
	Path      []byte `cbor:"path"`                // from the hierarchy's root; ends in " (deleted)" if it is
}

// LoginUID is the user a thread belongs to for audit(8).
type LoginUID struct {
	PID int    `cbor:"pid" range:"pid"` // its process
	TID int    `cbor:"tid" range:"pid"` // the thread
	UID uint32 `cbor:"uid"`             // 2^32-1: none
}
