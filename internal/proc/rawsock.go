package proc

import (
	"os"
	"strconv"
	"strings"
)

// IsConnectedRaw reports whether a raw socket, or one of ICMP, is connected to an address:
// getpeername(2) does not tell, because such an address has no port.
func IsConnectedRaw(ino uint64) bool {
	for _, name := range []string{"raw", "raw6", "icmp", "icmp6"} {
		text, _ := os.ReadFile("/proc/self/net/" + name) // without IPv6 there are but two
		if isConnected(string(text), strconv.FormatUint(ino, 10)) {
			return true
		}
	}
	return false
}

// isConnected looks in lines of: sl local_address rem_address st tx_queue:rx_queue tr:tm->when
// retrnsmt uid timeout inode …
func isConnected(text, ino string) bool {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) > 9 && f[9] == ino {
			remote, _, _ := strings.Cut(f[2], ":")
			return strings.Trim(remote, "0") != ""
		}
	}
	return false
}
