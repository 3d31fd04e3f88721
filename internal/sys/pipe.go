package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// pipeBytes is what one record of bulk data takes, stream.DataChunkBytes.
const pipeBytes = 1 << 20

// GrowPipes enlarges those of the files that are pipes to the size of one record,
// so that the filters switch less often. The kernel may refuse, see pipe(7), and that
// is fine.
func GrowPipes(files ...*os.File) {
	for _, f := range files {
		conn, err := f.SyscallConn()
		if err != nil {
			continue
		}
		_ = conn.Control(func(fd uintptr) {
			if n, err := unix.FcntlInt(fd, unix.F_GETPIPE_SZ, 0); err == nil && n < pipeBytes {
				_, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeBytes)
			}
		})
	}
}
