package proc

import (
	"bytes"
	"strconv"
)

// ReadLoginUID reads which user a thread belongs to for audit(8), ^0 for none.
// The file is missing without CONFIG_AUDIT.
func ReadLoginUID(pid, tid int) (uint32, error) {
	return readParsed(pid, ThreadPath(pid, tid, "loginuid"), func(b []byte) (uint32, error) {
		v, err := strconv.ParseUint(string(bytes.TrimSpace(b)), 10, 32)
		if err != nil {
			return 0, malformed("number", b)
		}
		return uint32(v), nil
	})
}
