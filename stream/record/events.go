package record

// EventFD is an eventfd, see eventfd(2). It has one FILE.
type EventFD struct {
	Object
	Count     uint64 `cbor:"count,omitempty" range:"0..2^64-2"` // what is in it
	Semaphore bool   `cbor:"semaphore,omitempty"`               // EFD_SEMAPHORE: a read takes 1
}

// Epoll is an epoll instance, see epoll(7). It has one FILE. What it watches is
// told by EPOLLTARGET records.
type Epoll struct {
	Object
}

// EpollTarget is one open file description an epoll watches. It stands behind
// the descriptors of all processes.
type EpollTarget struct {
	TID int `cbor:"tid" range:"pid"` // a thread that has the epoll open
	// FD is the number the target was added under. That descriptor may be
	// closed since, or have something else open.
	FD     int          `cbor:"fd" range:"fd"`
	Events uint32       `cbor:"events"`         // EPOLL bits; none but EPOLLONESHOT and the like: spent
	Data   uint64       `cbor:"data,omitempty"` // the program's own
	Refs   EpollFileRef `cbor:"refs"`           // the epoll and what it watches
}

// EpollFileRef is the refs map of EPOLLTARGET.
type EpollFileRef struct {
	Epoll uint64 `cbor:"epoll,omitempty"` // the FILE of the epoll
	File  uint64 `cbor:"file,omitempty"`  // the FILE it watches
}
