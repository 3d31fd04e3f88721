package proc

import (
	"bytes"
	"os"
	"strings"
)

// CPU is what /proc/cpuinfo says of the first CPU.
type CPU struct {
	Vendor string   // vendor_id
	Flags  []string // what it can do and the kernel has not switched off
}

// ReadCPU reads the beginning of /proc/cpuinfo: the whole can be long.
func ReadCPU() (CPU, error) {
	const first = 16 << 10
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return CPU{}, err
	}
	defer f.Close()
	b := make([]byte, first)
	n, err := f.Read(b)
	if err != nil {
		return CPU{}, err
	}
	return ParseCPU(b[:n])
}

// ParseCPU parses the lines of the first CPU.
func ParseCPU(b []byte) (c CPU, err error) {
	for line := range bytes.Lines(b) {
		key, value, ok := strings.Cut(string(line), ":")
		if !ok {
			break
		}
		switch strings.TrimSpace(key) {
		case "vendor_id":
			c.Vendor = strings.TrimSpace(value)
		case "flags":
			c.Flags = strings.Fields(value)
		}
	}
	if c.Flags == nil {
		return c, malformed("cpuinfo", b)
	}
	return c, nil
}
