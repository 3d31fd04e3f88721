package record

// TimerFD is a timerfd, see timerfd_create(2). It has one FILE.
type TimerFD struct {
	Object
	Clock       int  `cbor:"clock" range:"0|1|7|8|9"` // CLOCK_REALTIME and so on
	Absolute    bool `cbor:"absolute,omitempty"`      // TFD_TIMER_ABSTIME
	CancelOnSet bool `cbor:"cancel_on_set,omitempty"` // TFD_TIMER_CANCEL_ON_SET
	// ValueNS is the time until it expires; of an absolute one what its clock shows
	// then, in the target's time namespace. 0: it is not armed.
	ValueNS    int64  `cbor:"value_ns,omitempty" unit:"ns" range:"0.."`
	IntervalNS int64  `cbor:"interval_ns,omitempty" unit:"ns" range:"0.."` // from one expiration to the next; 0: there is none
	Ticks      uint64 `cbor:"ticks,omitempty"`                             // expirations that nobody has read yet
}
