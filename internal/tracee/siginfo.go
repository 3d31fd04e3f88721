package tracee

import "encoding/binary"

// What a siginfo_t of kill(2) and tgkill(2) says.
const (
	atSigCode, atSigPID = 8, 16 // offsets
	siUser, siTkill     = 0, -6
)

func sigCode(info []byte) int32 { return int32(binary.NativeEndian.Uint32(info[atSigCode:])) }

// sentToThread reports whether a signal was sent by tgkill(2).
func SentToThread(info []byte) bool { return sigCode(info) == siTkill }

// sentByItself reports whether a thread of a process sent the signal for which it
// has stopped, by tgkill(2). Where it may have no more signals that wait, the kernel
// does not note who sent it.
func SentByItself(pid, tid int) bool {
	info := Siginfo(tid)
	if info == nil {
		return false
	}
	sender := int(binary.NativeEndian.Uint32(info[atSigPID:]))
	return SentToThread(info) && sender == pid || sigCode(info) == siUser && sender == 0
}
