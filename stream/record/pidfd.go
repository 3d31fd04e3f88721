package record

// PidFD is what a pidfd stands for, see pidfd_open(2): a process, or a thread (FILE then
// has PIDFD_THREAD, which is O_EXCL, in its flags).
type PidFD struct {
	Object
	PID int `cbor:"pid,omitempty" range:"pid or 0"` // its id; 0: it has ended and was waited for
	// StartTime is there if it is not in the image: field 22 of its /proc/PID/stat. If no
	// such process is there at the restore, it has ended.
	StartTime uint64 `cbor:"start_time,omitempty" unit:"clock tick"`
	Status    int    `cbor:"status,omitempty"` // if PID is 0, as from wait(2); 0 if it is not known
}
