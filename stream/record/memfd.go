package record

// MemFD is a file of memfd_create(2). Its bytes come in CONTENT records.
type MemFD struct {
	Object
	Name    string `cbor:"name" range:"..249"`                          // as memfd_create(2) got it
	Size    int64  `cbor:"size" unit:"byte" range:"0.."`                // st_size of stat(2)
	Mode    uint32 `cbor:"mode"`                                        // st_mode
	UID     uint32 `cbor:"uid"`                                         // st_uid
	GID     uint32 `cbor:"gid"`                                         // st_gid
	MtimeNS int64  `cbor:"mtime_ns" unit:"ns"`                          // st_mtim, since the epoch
	Seals   int    `cbor:"seals,omitempty" range:"0..2^6-1"`            // F_SEAL bits, see fcntl(2)
	HugeTLB int64  `cbor:"huge_page,omitempty" unit:"byte" range:"0.."` // MFD_HUGETLB: the size of a huge page; absent: none
}
