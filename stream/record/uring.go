package record

// IOUring is an io_uring in which no request is under way, see io_uring(7). Its memory
// follows as CONTENT, at the offsets by which it is mapped.
type IOUring struct {
	Object
	SQEntries uint32 `cbor:"sq_entries" range:"1..2^15"` // of its submission queue
	CQEntries uint32 `cbor:"cq_entries" range:"1..2^16"` // of its completion queue
	// Count is how many requests have gone through it, modulo 2^32.
	Count uint32 `cbor:"count,omitempty"`
	// Direct: it has no array of indexes, IORING_SETUP_NO_SQARRAY of
	// io_uring_setup(2).
	Direct bool `cbor:"direct,omitempty"`
}
