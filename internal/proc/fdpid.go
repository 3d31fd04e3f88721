package proc

import "fmt"

// PidFD returns the id of the process or thread that a pidfd stands for: 0 if it has none
// in the pid namespace of /proc, -1 if it has ended and was waited for (fs/pidfs.c).
func (f *FDInfo) PidFD() (pid int, err error) {
	text, ok := f.Get("Pid")
	if !ok || !setInt(&pid, text) || pid < -1 {
		return 0, fmt.Errorf("fdinfo of a pidfd, pid %q: %w", text, ErrFormat)
	}
	return pid, nil
}
