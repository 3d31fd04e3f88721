package tracee

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// MaxLDTBytes is LDT_ENTRIES * LDT_ENTRY_SIZE of asm/ldt.h.
const MaxLDTBytes = 8192 * 8

// AnyLDT asks whether a process has set segment descriptors: the result is 0 if not.
func AnyLDT() Query {
	return Query{NR: unix.SYS_MODIFY_LDT, Args: [6]uint64{0, 0, 8}, Out: 8, To: 1 << 1}
}

// ReadLDT reads the segment descriptors that a process has set with
// modify_ldt(2), as the CPU has them.
func ReadLDT(c Caller) ([]byte, error) {
	at := c.Scratch()
	n, err := c.Call(unix.SYS_MODIFY_LDT, 0, at.Addr, min(at.Len, MaxLDTBytes))
	if err == unix.ENOSYS || err == nil && n == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, c.Tracee().Wrap("read its LDT", err)
	}
	if at.Len < MaxLDTBytes { // the call always reads from the first descriptor on
		return nil, c.Tracee().Wrap("read its LDT", ErrTight)
	}
	ldt := make([]byte, min(n, MaxLDTBytes))
	if err := c.Tracee().ReadMem(at.Addr, ldt); err != nil {
		return nil, err
	}
	for len(ldt) >= 8 && binary.LittleEndian.Uint64(ldt[len(ldt)-8:]) == 0 {
		ldt = ldt[:len(ldt)-8]
	}
	return ldt, nil
}

// WriteLDT is the inverse of ReadLDT.
func WriteLDT(c Caller, ldt []byte) error {
	const write = 0x11
	at := c.Scratch().Addr
	for i := 0; i+8 <= len(ldt); i += 8 {
		d := binary.LittleEndian.Uint64(ldt[i:])
		if d == 0 {
			continue
		}
		if err := c.Tracee().WriteMem(at, userDesc(uint32(i/8), d)); err != nil {
			return err
		}
		if err := CallOK(c, "set a segment descriptor", unix.SYS_MODIFY_LDT, write, at, 16); err != nil {
			return err
		}
	}
	return nil
}

// userDesc converts a descriptor to struct user_desc, the inverse of fill_ldt in
// asm/desc.h.
func userDesc(entry uint32, d uint64) []byte {
	bit := func(n int) uint32 { return uint32(d>>n) & 1 }
	base := uint32(d>>16&0xffffff | d>>56<<24)
	limit := uint32(d&0xffff | d>>48&0xf<<16)
	flags := bit(54) | uint32(d>>42&3)<<1 | (bit(41)^1)<<3 | bit(55)<<4 | (bit(47)^1)<<5 | bit(52)<<6
	b := make([]byte, 0, 16)
	for _, v := range []uint32{entry, base, limit, flags} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}
