package proc

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// Multicast is a group that some socket of this network namespace is in.
type Multicast struct {
	Index uint32 // of the network interface
	Group netip.Addr
}

// ReadMulticast lists /proc/net/igmp and igmp6.
func ReadMulticast() ([]Multicast, error) {
	four, err := os.ReadFile("/proc/self/net/igmp")
	six, err6 := os.ReadFile("/proc/self/net/igmp6")
	if errors.Is(err6, os.ErrNotExist) {
		err6 = nil // a kernel without IPv6
	}
	return append(parseIGMP(string(four)), parseIGMP6(string(six))...), errors.Join(err, err6)
}

// parseIGMP parses a line with the number of each interface, and one for each of its
// groups, whose address stands there as a number.
func parseIGMP(text string) (list []Multicast) {
	var index uint64
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if line[0] != '\t' && line[0] != ' ' {
			index, _ = strconv.ParseUint(f[0], 10, 32)
			continue
		}
		v, err := strconv.ParseUint(f[0], 16, 32)
		if err != nil || index == 0 {
			continue
		}
		var ip [4]byte
		binary.NativeEndian.PutUint32(ip[:], uint32(v))
		list = append(list, Multicast{uint32(index), netip.AddrFrom4(ip)})
	}
	return list
}

// parseIGMP6 parses lines of: number and name of the interface, address, …
func parseIGMP6(text string) (list []Multicast) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		index, err := strconv.ParseUint(f[0], 10, 32)
		ip, herr := hex.DecodeString(f[2])
		if err == nil && herr == nil && len(ip) == 16 {
			list = append(list, Multicast{uint32(index), netip.AddrFrom16([16]byte(ip))})
		}
	}
	return list
}
