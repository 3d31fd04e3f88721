package proc

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxMappings bounds a list of mappings; vm.max_map_count is 65530 by default.
const maxMappings = 1 << 24

// ParseMappings parses the text of maps or of smaps. Mappings must ascend and
// not overlap.
func ParseMappings(r io.Reader) ([]Mapping, error) {
	var all []Mapping
	flags := map[string]VmFlags{} // each of the few different sets is kept once
	buf := lineBuffers.Get().(*lineBuffer)
	defer lineBuffers.Put(buf)
	s := newLineScanner(r, buf)
	for n := 1; s.Scan(); n++ {
		if key, value, ok := cutAttribute(s.Bytes()); ok {
			if len(all) == 0 || !setAttribute(&all[len(all)-1], key, value, flags) {
				return nil, fmt.Errorf("line %d: %w", n, malformed("attribute", s.Bytes()))
			}
			continue
		}
		m, ok := parseMapping(s.Bytes())
		if !ok || len(all) > 0 && m.Start < all[len(all)-1].End {
			return nil, fmt.Errorf("line %d: %w", n, malformed("mapping", s.Bytes()))
		}
		if len(all) == maxMappings {
			return nil, fmt.Errorf("more than %d mappings: %w", maxMappings, unix.E2BIG)
		}
		all = append(all, m)
	}
	return all, s.Err()
}

// cutAttribute splits a line "Rss:    4 kB" of smaps. The first word of a
// mapping's line is an address range, which has no colon.
func cutAttribute(line []byte) (key, value []byte, ok bool) {
	key, value, ok = bytes.Cut(line, []byte{':'})
	return key, value, ok && len(key) > 0 && bytes.IndexByte(key, ' ') < 0
}

// setAttribute stores the attributes that Mapping has and skips the others.
func setAttribute(m *Mapping, key, value []byte, flags map[string]VmFlags) bool {
	switch string(key) {
	case "VmFlags":
		set, ok := flags[string(value)]
		if !ok {
			set = VmFlags(strings.Join(strings.Fields(string(value)), " "))
			flags[string(value)] = set
		}
		m.VmFlags = set
		return true
	case "ProtectionKey":
		return setInt(&m.ProtectionKey, string(value))
	case "KernelPageSize":
		return setKB(&m.KernelPageSize, string(value))
	case "Rss":
		return setKB(&m.RSS, string(value))
	case "Anonymous":
		return setKB(&m.Anonymous, string(value))
	case "AnonHugePages":
		return setKB(&m.AnonHuge, string(value))
	case "Swap":
		return setKB(&m.Swap, string(value))
	case "Locked":
		return setKB(&m.Locked, string(value))
	}
	return true
}

// parseMapping parses a line
//
//	55a3d9d39000-55a3d9d3b000 r--p 00000000 fe:00 247026      /usr/bin/cat
//
// in which blanks before the path are padding; those in it or after it belong to
// the path.
func parseMapping(line []byte) (Mapping, bool) {
	var word [5][]byte
	for i := range word {
		word[i], line, _ = bytes.Cut(line, []byte{' '})
	}
	var m Mapping
	from, to, ok := strings.Cut(string(word[0]), "-")
	ok = ok && setUint(&m.Start, from, 16) && setUint(&m.End, to, 16) && m.Start < m.End
	ok = ok && setPermissions(&m, string(word[1]))
	ok = ok && setUint(&m.Offset, string(word[2]), 16)
	ok = ok && setDev(&m.Dev, string(word[3]))
	ok = ok && setUint(&m.Inode, string(word[4]), 10)
	m.Path = unescapePath(string(bytes.TrimLeft(line, " ")))
	return m, ok
}

// unescapePath undoes the one escape maps has. The kernel leaves backslashes
// alone, so a name that really holds the four characters \012 reads as one with
// a newline; compare Dev and Inode.
func unescapePath(s string) string { return strings.ReplaceAll(s, `\012`, "\n") }

// setPermissions takes "rwxp", with '-' for what is missing and 's' for shared.
func setPermissions(m *Mapping, s string) bool {
	if len(s) != 4 {
		return false
	}
	for i, bit := range []int{unix.PROT_READ, unix.PROT_WRITE, unix.PROT_EXEC} {
		switch s[i] {
		case "rwx"[i]:
			m.Prot |= bit
		case '-':
		default:
			return false
		}
	}
	m.Shared = s[3] == 's'
	return m.Shared || s[3] == 'p'
}

// setDev takes a device as "fe:00", hexadecimal major and minor.
func setDev(to *uint64, s string) bool {
	major, minor, ok := strings.Cut(s, ":")
	if !ok {
		return false
	}
	ma, err1 := strconv.ParseUint(major, 16, 32)
	mi, err2 := strconv.ParseUint(minor, 16, 32)
	*to = unix.Mkdev(uint32(ma), uint32(mi))
	return err1 == nil && err2 == nil
}
