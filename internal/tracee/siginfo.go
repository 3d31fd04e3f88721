package tracee

import "encoding/binary"

// What is in a siginfo_t of kill(2) and tgkill(2).
const (
	atSigCode, atSigPID = 8, 16 // offsets
	siUser, siTkill     = 0, -6
)

func sigCode(info []byte) int32 { return int32(binary.NativeEndian.Uint32(info[atSigCode:])) }

// sentToThread reports whether a signal was sent by tgkill(2).
func SentToThread(info []byte) bool { return sigCode(info) == siTkill }

// sentByItself reports whether the signal for which a thread has stopped was sent by its own
// process, by tgkill(2). If RLIMIT_SIGPENDING is reached, the kernel does not record who
// sent it.
func SentByItself(pid, tid int) bool {
	info := Siginfo(tid)
	if info == nil {
		return false
	}
	sender := int(binary.NativeEndian.Uint32(info[atSigPID:]))
	return SentToThread(info) && sender == pid || sigCode(info) == siUser && sender == 0
}
