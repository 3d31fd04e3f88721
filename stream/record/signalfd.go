package record

// SignalFD is a signalfd, see signalfd(2). It has one FILE.
type SignalFD struct {
	Object
	Mask uint64 `cbor:"mask,omitempty"` // the signals it takes, bit 0 for signal 1; never SIGKILL and SIGSTOP
}
