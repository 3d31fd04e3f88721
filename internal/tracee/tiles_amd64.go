package tracee

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// The tiles of AMX are registers that a process has to ask for, see
// Documentation/arch/x86/xstate.rst; codes of asm/prctl.h.
const (
	archGetXCompSupp = 0x1021
	archGetXCompPerm = 0x1022
	archReqXCompPerm = 0x1023
	tileData         = 18 // the xsave component
)

// useTiles are `ldtilecfg (%rdi); tilezero %tmm0; syscall`.
var useTiles = append([]byte{0xc4, 0xe2, 0x78, 0x49, 0x07, 0xc4, 0xe2, 0x7b, 0x49, 0xc0}, SyscallInsn...)

// HasTiles reports whether the tiles hold state in an xsave area.
func HasTiles(xstate []byte) bool {
	_, inUse := XFeatures(xstate)
	return inUse>>tileData&1 != 0
}

// TilesQuery asks which registers a process may use of those that it has to ask for.
var TilesQuery = Query{NR: unix.SYS_ARCH_PRCTL, Args: [6]uint64{archGetXCompPerm}, To: 1 << 1, Out: 8}

// AllowsTiles reports whether the tiles are among them.
func (a *Answer) AllowsTiles() bool {
	return a.Err == nil && len(a.Data) == 8 && binary.LittleEndian.Uint64(a.Data)>>tileData&1 != 0
}

// AllowTilesCall is the system call by which a process asks for them.
func AllowTilesCall() (nr uintptr, args []uint64) {
	return unix.SYS_ARCH_PRCTL, []uint64{archReqXCompPerm, tileData}
}

// UseTiles has a thread use the tiles: before that the kernel has no room for what it
// has in them. Its code can be written at code, and what the code reads at scratch.
func (t *Tracee) UseTiles(base *Regs, code, scratch uint64) error {
	if err := t.Poke(code, useTiles); err != nil {
		return err
	}
	config := make([]byte, 64)
	config[0], config[16], config[48] = 1, 4, 1 // palette 1: the first tile has a row of 4 bytes
	if err := t.WriteMem(scratch, config); err != nil {
		return err
	}
	_, err := t.CallAt(base, code, unix.SYS_GETPID, []uint64{scratch})
	return t.Wrap("use the tiles of AMX", err)
}

// ErrTiles: the CPU has no tiles, or the kernel does not support them.
var ErrTiles = errors.New("the tiles of AMX, which this machine lacks")

// TilesHere returns an error if no process here can use the tiles.
func TilesHere() error {
	supported, err := xcompSupported()
	if err != nil || supported>>tileData&1 == 0 {
		return ErrTiles
	}
	return nil
}
