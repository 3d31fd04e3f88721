package record

// Sysctl is a file below /proc/sys, see proc_sys_kernel(5) and mq_overview(7).
type Sysctl struct {
	Name   string   `cbor:"name" range:"1..64" since:"0.2"` // as kernel/shmmax
	Values []uint64 `cbor:"values" since:"0.2"`             // the numbers in it
}

// SemSet is a set of semaphores of an IPC namespace of the tree's own, see semget(2).
type SemSet struct {
	Object
	SemID   int         `cbor:"semid" range:"0..2^31-1"` // its identifier
	Key     int32       `cbor:"key"`                     // its key; 0: IPC_PRIVATE
	Mode    uint32      `cbor:"mode" range:"0..2^9-1"`   // permissions
	UID     uint32      `cbor:"uid"`                     // of its owner
	GID     uint32      `cbor:"gid"`                     // of its owner
	Creator SysVCreator `cbor:"creator"`                 // who made it
	Values  []uint16    `cbor:"values" range:"..32767"`  // of each semaphore
	Last    []int       `cbor:"last,omitempty"`          // the process that changed each last, 0 for none
	Used    bool        `cbor:"used,omitempty"`          // semop(2) was called: sem_otime is not 0
}

// MsgQueue is a System V message queue of an IPC namespace of the tree's own, see msgget(2).
type MsgQueue struct {
	Object
	MsgID    int         `cbor:"msgid" range:"0..2^31-1"`                 // its identifier
	Key      int32       `cbor:"key"`                                     // its key; 0: IPC_PRIVATE
	Mode     uint32      `cbor:"mode" range:"0..2^9-1"`                   // permissions
	UID      uint32      `cbor:"uid"`                                     // of its owner
	GID      uint32      `cbor:"gid"`                                     // of its owner
	Creator  SysVCreator `cbor:"creator"`                                 // who made it
	MaxBytes uint64      `cbor:"max_bytes" unit:"byte" range:"0..2^31-1"` // msg_qbytes
	Messages uint64      `cbor:"messages,omitempty"`                      // how many MSG records follow
}

// Msg is one message, the oldest first, followed by its text.
type Msg struct {
	MType int64    `cbor:"mtype,omitempty" range:"1.."`     // of System V: what begins struct msgbuf, see msgop(2)
	Prio  uint32   `cbor:"prio,omitempty" range:"0..32767"` // of a POSIX queue: see mq_send(3)
	Refs  InodeRef `cbor:"refs"`                            // the queue that it is in
}
