package tracee

import (
	"encoding/binary"

	"ckpt/internal/abi"
)

const (
	auxPHEnt     = 4  // AT_PHENT: the size of one of the program's headers, see getauxval(3)
	phEnt32Bytes = 32 // sizeof(Elf32_Phdr)
)

// Narrow reports whether an auxiliary vector is that of a program with 32-bit pointers, be
// its code 32-bit or, as with x32, 64-bit: it has pairs of 32-bit words, and the program's
// headers are those of ELF32.
func Narrow(auxv []byte) bool {
	for words := abi.Words(auxv); len(words) >= 2; words = words[2:] {
		if words[0] == auxPHEnt {
			return false
		}
	}
	for ; len(auxv) >= 8; auxv = auxv[8:] {
		if binary.LittleEndian.Uint32(auxv) == auxPHEnt {
			return binary.LittleEndian.Uint32(auxv[4:]) == phEnt32Bytes
		}
	}
	return false
}
