package files

// Outside is an end that leads out of the tree.
type Outside struct {
	Name    string // as package ends has it
	PID, FD int    // who has it
	What    string // what of it is outside, in words; "" of a terminal
	Ino     uint64 // what others have open there, 0 if nobody can tell
}

// lead notes that a descriptor leads out of the tree.
func (c *Collector) lead(s *Subject, name, what string, ino uint64) {
	if c.led[name] || s.FD < 0 {
		return
	}
	if c.led == nil {
		c.led = map[string]bool{}
	}
	c.led[name] = true
	c.Outside = append(c.Outside, Outside{name, s.PID, s.FD, what, ino})
}
