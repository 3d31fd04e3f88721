package files

import "golang.org/x/sys/unix"

// Outside is an end that leads out of the tree.
type Outside struct {
	Name    string // as package ends writes it
	PID, FD int    // of a descriptor of the tree
	What    string // what of it is outside, for a message; "" for a terminal
	Ino     uint64 // inode number of what others have open there; 0 if unknown
	Propose string // the decision to propose; "": null
	Default bool   // which is taken without being asked for
}

// noteOutside notes that a descriptor leads out of the tree.
func (c *Collector) noteOutside(s *Subject, name, what string, ino uint64) {
	c.noteEnd(Outside{Name: name, PID: s.PID, FD: s.FD, What: what, Ino: ino})
}

func (c *Collector) noteEnd(o Outside) {
	if c.outsideNames[o.Name] || o.FD < 0 {
		return
	}
	if c.outsideNames == nil {
		c.outsideNames = map[string]bool{}
	}
	c.outsideNames[o.Name] = true
	c.Outside = append(c.Outside, o)
}

// Connection is a TCP connection that leads out of the tree.
type Connection struct {
	Name string
	PID  int
	Kept bool // it can go on when it is restored
}

// noteConnection notes a TCP connection that leads out of the tree.
func (c *Collector) noteConnection(s *Subject, name string, kept bool) {
	c.Connections = append(c.Connections, Connection{name, s.PID, kept})
}

// Lost is something of a descriptor that is not saved.
type Lost struct {
	PID, FD int
	What    string
}

// lose notes that something of a descriptor is not saved.
func (c *Collector) lose(s *Subject, what string) {
	c.Lost = append(c.Lost, Lost{s.PID, s.FD, what})
}

// Barred is a descriptor of a file that this user may not open again, such as one
// that was inherited from somebody who may.
type Barred struct {
	PID, FD int
	Path    string
}

// noteBarred notes a subject with a path if this user may not open that.
func (c *Collector) noteBarred(s *Subject) {
	if s.barred() {
		c.Barred = append(c.Barred, Barred{s.PID, s.FD, s.Target})
	}
}

func isBarred(s *Subject) bool {
	switch s.Stat.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFIFO, unix.S_IFDIR, unix.S_IFCHR:
	default:
		return false
	}
	if s.FD < 0 || s.Stat.Nlink == 0 || s.Info.Flags&unix.O_PATH != 0 || s.Target[0] != '/' {
		return false
	}
	how := uint32(unix.R_OK)
	switch s.Info.Flags & unix.O_ACCMODE {
	case unix.O_WRONLY:
		how = unix.W_OK
	case unix.O_RDWR:
		how = unix.R_OK | unix.W_OK
	}
	return unix.Faccessat(unix.AT_FDCWD, s.Link, how, unix.AT_EACCESS) == unix.EACCES
}
