package record

// EventFD is an eventfd, see eventfd(2). It has one FILE.
type EventFD struct {
	Object
	Count     uint64 `cbor:"count,omitempty"`     // what is in it, at most 2^64-2
	Semaphore bool   `cbor:"semaphore,omitempty"` // EFD_SEMAPHORE: a read takes 1
}

// Epoll is an epoll instance, see epoll(7). It has one FILE. What it watches is
// told by EPOLLTARGET records.
type Epoll struct {
	Object
}

// EpollTarget is one open file description an epoll watches. It stands behind
// the descriptors of all processes.
type EpollTarget struct {
	PID int `cbor:"pid"` // a process that has the epoll open
	// FD is the number the target was added under. That descriptor may be
	// closed since, or have something else open.
	FD     int          `cbor:"fd"`
	Events uint32       `cbor:"events"` // EPOLL bits; none but EPOLLONESHOT and the like: spent
	Data   uint64       `cbor:"data,omitempty"`
	Refs   EpollFileRef `cbor:"refs"`
}

// EpollFileRef is the refs map of EPOLLTARGET: the FILE of the epoll and that
// of the target.
type EpollFileRef struct {
	Epoll uint64 `cbor:"epoll,omitempty"`
	File  uint64 `cbor:"file,omitempty"`
}
