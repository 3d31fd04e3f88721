package record

// PTMX is the master of a pseudoterminal (pty(7)), and the state of the pair. Its other
// side is a TTY, if anybody has that open.
type PTMX struct {
	Object
	Path   string `cbor:"path"`                   // by which it was opened
	Number int    `cbor:"number" range:"0..2^20"` // of the pair, TIOCGPTN of ioctl_tty(2)
	Slave  Stat   `cbor:"slave"`                  // the file of its other side
	// The settings of the other side, struct termios2 of TCGETS2.
	Termios []byte `cbor:"termios" range:"44"`
	// Which of them are locked, struct termios of TIOCGLCKTRMIOS; absent if none is.
	Fixed []byte `cbor:"fixed,omitempty" range:"36"`

	Rows   uint16 `cbor:"rows,omitempty"`   // of its window
	Cols   uint16 `cbor:"cols,omitempty"`   // of its window
	XPixel uint16 `cbor:"xpixel,omitempty"` // of its window
	YPixel uint16 `cbor:"ypixel,omitempty"` // of its window

	Locked bool `cbor:"locked,omitempty"`  // its other side can't be opened, TIOCSPTLCK
	Packet bool `cbor:"packet,omitempty"`  // packet mode, TIOCPKT
	HungUp bool `cbor:"hung_up,omitempty"` // all had closed its other side

	SID  int `cbor:"sid,omitempty" range:"pid"`  // the session whose controlling terminal it is
	PGID int `cbor:"pgid,omitempty" range:"pid"` // the foreground process group
}
