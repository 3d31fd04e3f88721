package record

// OPath is what is open only by O_PATH, and could not be opened otherwise without an effect:
// a symbolic link, a socket's name, or a device.
type OPath struct {
	Object
	Stat
	Rdev uint64 `cbor:"rdev,omitempty"` // st_rdev of a device
}
