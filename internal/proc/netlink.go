package proc

import (
	"os"
	"strconv"
	"strings"
)

// Netlink is what /proc/net/netlink tells of a socket.
type Netlink struct {
	Waiting int64 // bytes of memory that messages take in it
	Dumping bool  // the kernel is in the middle of an answer to it
}

// ReadNetlink finds a netlink socket of this network namespace by its inode number;
// there is false if it is not listed.
func ReadNetlink(ino uint64) (n Netlink, there bool, err error) {
	text, err := os.ReadFile("/proc/self/net/netlink")
	if err != nil {
		return n, false, err
	}
	n, there = parseNetlink(string(text), strconv.FormatUint(ino, 10))
	return n, there, nil
}

// parseNetlink looks in lines of: sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode.
func parseNetlink(text, ino string) (n Netlink, there bool) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 10 || f[9] != ino {
			continue
		}
		waiting, err := strconv.ParseInt(f[4], 10, 64)
		if err != nil {
			return n, false
		}
		return Netlink{Waiting: waiting, Dumping: f[6] != "0"}, true
	}
	return n, false
}
