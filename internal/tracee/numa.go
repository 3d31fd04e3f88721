package tracee

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/stream"
)

const (
	nodesBytes   = 128 // 1 << CONFIG_NODES_SHIFT bits at most
	mpolFAddr    = 2   // uapi linux/mempolicy.h
	mpolMaxModes = 1 << 16
)

// ErrPolicy: a memory policy that can't be.
var ErrPolicy = errors.New("no memory policy")

// CheckMemPolicy says why a policy can't be set.
func CheckMemPolicy(p *stream.MemPolicy) error {
	if p != nil && (p.Mode <= 0 || p.Mode >= mpolMaxModes || len(p.Nodes) > nodesBytes) {
		return fmt.Errorf("%w: %w: mode %d with %d bytes of nodes", stream.ErrCorrupt, ErrPolicy, p.Mode, len(p.Nodes))
	}
	return nil
}

// ThreadMemPolicy reads the policy by which a thread's memory is taken from NUMA
// nodes, see get_mempolicy(2); nil for the default.
func ThreadMemPolicy(c Caller) (*stream.MemPolicy, error) { return getMemPolicy(c, 0, 0) }

// MemPolicyAt reads that of the mapping at an address, nil if it has none of its
// own.
func MemPolicyAt(c Caller, addr uint64) (*stream.MemPolicy, error) {
	return getMemPolicy(c, addr, mpolFAddr)
}

func getMemPolicy(c Caller, addr, flags uint64) (*stream.MemPolicy, error) {
	at := c.Scratch().Addr
	_, err := c.Call(unix.SYS_GET_MEMPOLICY, at, at+8, 8*nodesBytes, addr, flags)
	if err == unix.ENOSYS {
		return nil, nil
	}
	if err != nil {
		return nil, c.Tracee().wrap("read a memory policy", err)
	}
	var b [8 + nodesBytes]byte
	if err := c.Tracee().ReadMem(at, b[:]); err != nil {
		return nil, err
	}
	mode := int(binary.LittleEndian.Uint32(b[:]))
	if mode == 0 {
		return nil, nil
	}
	return &stream.MemPolicy{Mode: mode, Nodes: bytes.TrimRight(b[8:], "\x00")}, nil
}

// SetThreadMemPolicy is the inverse of ThreadMemPolicy.
func SetThreadMemPolicy(c Caller, p *stream.MemPolicy) error {
	mode, nodes, bits, err := putNodes(c, p)
	if err != nil {
		return err
	}
	return CallOK(c, "set its memory policy", unix.SYS_SET_MEMPOLICY, mode, nodes, bits)
}

// SetMemPolicyAt sets that of a mapping.
func SetMemPolicyAt(c Caller, addr, length uint64, p *stream.MemPolicy) error {
	mode, nodes, bits, err := putNodes(c, p)
	if err != nil {
		return err
	}
	return CallOK(c, "set the memory policy of a mapping", unix.SYS_MBIND, addr, length, mode, nodes, bits, 0)
}

// putNodes writes the nodes into the task and returns the arguments for a policy.
func putNodes(c Caller, p *stream.MemPolicy) (mode, nodes, bits uint64, err error) {
	if p == nil {
		return 0, 0, 0, nil
	}
	if len(p.Nodes) == 0 {
		return uint64(p.Mode), 0, 0, nil
	}
	at := c.Scratch().Addr
	var b [nodesBytes]byte
	copy(b[:], p.Nodes)
	return uint64(p.Mode), at, 8*nodesBytes + 1, c.Tracee().WriteMem(at, b[:])
}

// SameMemPolicy compares two.
func SameMemPolicy(a, b *stream.MemPolicy) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Mode == b.Mode && slices.Equal(a.Nodes, b.Nodes)
}
