package files

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/stream/record"
)

// TestOptionWithout: an option that this kernel does not have is left out if a socket without
// it is the same, and an error otherwise.
func TestOptionWithout(t *testing.T) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	const none = 9999
	for name, same := range map[string]int64{"SO_PASSRIGHTS": 1, "SO_PASSPIDFD": 0} {
		row := &sockOption{unix.SOL_SOCKET, none, name, optInt, ofUnix, "99.9", nil}
		for _, value := range []int64{0, 1} {
			err := row.set(fd, &record.LevelOption{Level: unix.SOL_SOCKET, Name: none, Value: value})
			if value == same && err != nil || value != same && !errors.Is(err, unix.ENOPROTOOPT) {
				t.Errorf("%s of %d: %v", name, value, err)
			}
		}
	}
}
