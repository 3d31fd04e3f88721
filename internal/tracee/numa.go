package tracee

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/stream"
	"ckpt/stream/record"
)

const (
	nodesBytes   = 128 // for at most 1 << CONFIG_NODES_SHIFT bits
	mpolFAddr    = 2   // uapi linux/mempolicy.h
	mpolMaxModes = 1 << 16
)

// ErrPolicy: an impossible memory policy.
var ErrPolicy = errors.New("not a memory policy")

// CheckMemPolicy returns an error if a policy is impossible.
func CheckMemPolicy(p *record.MemPolicy) error {
	if p != nil && (p.Mode <= 0 || p.Mode >= mpolMaxModes || len(p.Nodes) > nodesBytes) {
		return fmt.Errorf("%w: %w: mode %d with %d bytes of nodes", stream.ErrCorrupt, ErrPolicy, p.Mode, len(p.Nodes))
	}
	return nil
}

// ThreadMemPolicy asks for a thread's policy, by which its memory is taken from NUMA nodes,
// see get_mempolicy(2).
func ThreadMemPolicy() Query { return getMemPolicy(0, 0) }

// MemPolicyAt asks for the policy of the mapping at an address.
func MemPolicyAt(addr uint64) Query { return getMemPolicy(addr, mpolFAddr) }

func getMemPolicy(addr, flags uint64) Query {
	return Query{NR: unix.SYS_GET_MEMPOLICY, Args: [6]uint64{0, 8, 8 * nodesBytes, addr, flags}, Out: 8 + nodesBytes, To: 1<<0 | 1<<1}
}

// MemPolicy decodes the answer to one of these; nil stands for the default policy.
func (t *Tracee) MemPolicy(a Answer) (*record.MemPolicy, error) {
	switch a.Err {
	case nil:
	case unix.ENOSYS:
		return nil, nil
	default:
		return nil, t.Wrap("read a memory policy", a.Err)
	}
	mode := int(binary.LittleEndian.Uint32(a.Data))
	if mode == 0 {
		return nil, nil
	}
	return &record.MemPolicy{Mode: mode, Nodes: bytes.TrimRight(a.Data[8:], "\x00")}, nil
}

// SetThreadMemPolicy is the inverse of ThreadMemPolicy.
func SetThreadMemPolicy(c Caller, p *record.MemPolicy) error {
	mode, nodes, bits, err := putNodes(c, p)
	if err != nil {
		return err
	}
	return CallOK(c, "set its memory policy", unix.SYS_SET_MEMPOLICY, mode, nodes, bits)
}

// SetMemPolicyAt is the inverse of MemPolicyAt.
func SetMemPolicyAt(c Caller, addr, length uint64, p *record.MemPolicy) error {
	mode, nodes, bits, err := putNodes(c, p)
	if err != nil {
		return err
	}
	return CallOK(c, "set the memory policy of a mapping", unix.SYS_MBIND, addr, length, mode, nodes, bits, 0)
}

// putNodes writes the nodes into the task and returns the arguments for a policy.
func putNodes(c Caller, p *record.MemPolicy) (mode, nodes, bits uint64, err error) {
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

// SameMemPolicy reports whether two policies are equal.
func SameMemPolicy(a, b *record.MemPolicy) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Mode == b.Mode && slices.Equal(a.Nodes, b.Nodes)
}
