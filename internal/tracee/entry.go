package tracee

import "encoding/binary"

// The array of calls that VectorCode and AskCode make, in words: number, six
// arguments, flags. The number gives way to the result.
const (
	EntryBytes  = 64
	flagsAt     = 56
	FlagMayFail = 1 << 6 // VectorCode goes on if it fails; bits 0 to 5: the argument is the address of what it is
	FlagNext    = 1      // AskCode: there is another entry
)

// AppendEntry appends the entry of a call.
func AppendEntry(array []byte, nr uintptr, args [6]uint64, flags uint64) []byte {
	array = binary.LittleEndian.AppendUint64(array, uint64(nr))
	for _, v := range args {
		array = binary.LittleEndian.AppendUint64(array, v)
	}
	return binary.LittleEndian.AppendUint64(array, flags)
}
