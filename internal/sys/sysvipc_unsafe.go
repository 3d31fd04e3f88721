package sys

import (
	"encoding/binary"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Commands of semctl(2), and flags of msgrcv(2), of uapi linux/sem.h and linux/msg.h.
const (
	semGetPid = 11
	semGetAll = 13
	semSetAll = 17
	msgCopy   = 0o40000
)

// SemGet is semget(2).
func SemGet(key int32, sems, flags int) (int, error) {
	id, _, e := unix.Syscall(unix.SYS_SEMGET, uintptr(key), uintptr(sems), uintptr(flags))
	return int(id), errOf("semget", e)
}

// SemValues returns the values of a set of semaphores.
func SemValues(id, sems int) ([]uint16, error) {
	values := make([]uint16, max(sems, 1))
	_, _, e := unix.Syscall6(unix.SYS_SEMCTL, uintptr(id), 0, semGetAll, uintptr(unsafe.Pointer(&values[0])), 0, 0)
	return values[:sems], errOf("semctl", e)
}

// SetSemValues sets the values of a set of as many semaphores.
func SetSemValues(id int, values []uint16) error {
	_, _, e := unix.Syscall6(unix.SYS_SEMCTL, uintptr(id), 0, semSetAll, uintptr(unsafe.Pointer(&values[0])), 0, 0)
	return errOf("semctl", e)
}

// SemLast returns which process changed a semaphore last.
func SemLast(id, num int) (int, error) {
	pid, _, e := unix.Syscall6(unix.SYS_SEMCTL, uintptr(id), uintptr(num), semGetPid, 0, 0, 0)
	return int(pid), errOf("semctl", e)
}

// SemOps are operations of semop(2), in bytes: pairs of a semaphore's number and what is added.
func SemOps(pairs ...[2]int) []byte {
	var b []byte
	for _, p := range pairs {
		for _, v := range []int{p[0], p[1], unix.IPC_NOWAIT} {
			b = binary.NativeEndian.AppendUint16(b, uint16(v))
		}
	}
	return b
}

// SemOp is semop(2) of n operations.
func SemOp(id int, ops []byte, n int) error {
	_, _, e := unix.Syscall(unix.SYS_SEMOP, uintptr(id), uintptr(unsafe.Pointer(&ops[0])), uintptr(n))
	return errOf("semop", e)
}

// semidBytes is more than struct semid64_ds of uapi asm/sembuf.h, which differs between
// architectures behind its first field.
const semidBytes = 128

// OwnSem sets owner and mode of a set of semaphores.
func OwnSem(id int, uid, gid, mode uint32) error {
	var ds struct {
		perm unix.SysvIpcPerm
		_    [semidBytes]byte
	}
	ds.perm.Uid, ds.perm.Gid, ds.perm.Mode = uid, gid, mode
	_, _, e := unix.Syscall6(unix.SYS_SEMCTL, uintptr(id), 0, unix.IPC_SET, uintptr(unsafe.Pointer(&ds)), 0, 0)
	return errOf("semctl", e)
}

// RemoveSem removes a set of semaphores.
func RemoveSem(id int) error {
	_, _, e := unix.Syscall6(unix.SYS_SEMCTL, uintptr(id), 0, unix.IPC_RMID, 0, 0, 0)
	return errOf("semctl", e)
}

// MsgDS is struct msqid64_ds of uapi asm-generic/msgbuf.h.
type MsgDS struct {
	Perm                  unix.SysvIpcPerm
	Sent, Received, Ctime int64
	Bytes, Messages       uint64
	MaxBytes              uint64
	LastSend, LastReceive int32
	_                     [2]uint64
}

var _ [120]byte = [unsafe.Sizeof(MsgDS{})]byte{}

// MsgGet is msgget(2).
func MsgGet(key int32, flags int) (int, error) {
	id, _, e := unix.Syscall(unix.SYS_MSGGET, uintptr(key), uintptr(flags), 0)
	return int(id), errOf("msgget", e)
}

// MsgStat is msgctl(2) with IPC_STAT.
func MsgStat(id int) (ds MsgDS, err error) {
	_, _, e := unix.Syscall(unix.SYS_MSGCTL, uintptr(id), unix.IPC_STAT, uintptr(unsafe.Pointer(&ds)))
	return ds, errOf("msgctl", e)
}

// SetMsg is msgctl(2) with IPC_SET.
func SetMsg(id int, uid, gid, mode uint32, maxBytes uint64) error {
	var ds MsgDS
	ds.Perm.Uid, ds.Perm.Gid, ds.Perm.Mode, ds.MaxBytes = uid, gid, mode, maxBytes
	_, _, e := unix.Syscall(unix.SYS_MSGCTL, uintptr(id), unix.IPC_SET, uintptr(unsafe.Pointer(&ds)))
	return errOf("msgctl", e)
}

// RemoveMsg removes a message queue.
func RemoveMsg(id int) error {
	_, _, e := unix.Syscall(unix.SYS_MSGCTL, uintptr(id), unix.IPC_RMID, 0)
	return errOf("msgctl", e)
}

// MsgTypeBytes is what struct msgbuf has before the text.
const MsgTypeBytes = 8

// PeekMsg copies the message with a number, from 0, of a queue into a struct msgbuf, and
// leaves it there. It returns the length of the text.
func PeekMsg(id, number int, buf []byte) (int, error) {
	n, _, e := unix.Syscall6(unix.SYS_MSGRCV, uintptr(id), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)-MsgTypeBytes), uintptr(number), unix.IPC_NOWAIT|msgCopy, 0)
	return int(n), errOf("msgrcv", e)
}

// SendMsg is msgsnd(2) of a struct msgbuf, without waiting.
func SendMsg(id int, buf []byte) error {
	_, _, e := unix.Syscall6(unix.SYS_MSGSND, uintptr(id), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)-MsgTypeBytes), unix.IPC_NOWAIT, 0, 0)
	return errOf("msgsnd", e)
}

// MsgBuf is a struct msgbuf, with room for a text.
func MsgBuf(mtype int64, textBytes int) []byte {
	buf := make([]byte, MsgTypeBytes+textBytes)
	binary.NativeEndian.PutUint64(buf, uint64(mtype))
	return buf
}

func errOf(call string, e unix.Errno) error {
	if e != 0 {
		return os.NewSyscallError(call, e)
	}
	return nil
}

// MsgType is the type in a struct msgbuf.
func MsgType(buf []byte) int64 { return int64(binary.NativeEndian.Uint64(buf)) }
