package nft

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// From uapi linux/netfilter/nfnetlink.h and nf_tables.h.
const (
	genmsgBytes = 4 // struct nfgenmsg
	attrBytes   = 4 // struct nlattr
	nested      = unix.NLA_F_NESTED
	attrMask    = 1<<14 - 1 // NLA_TYPE_MASK
)

// batch is messages on their way to the kernel, which does all of them or none.
type batch struct {
	b   []byte
	seq uint32
}

// newBatch begins one. Its messages have the number seq.
func newBatch(seq uint32) *batch {
	t := &batch{seq: seq}
	t.message(unix.NFNL_MSG_BATCH_BEGIN, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil)
	return t
}

// end is the whole batch.
func (t *batch) end() []byte {
	t.message(unix.NFNL_MSG_BATCH_END, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES, nil)
	return t.b
}

// add adds a message of nf_tables.
func (t *batch) add(what, flags int, attrs []byte) {
	t.message(unix.NFNL_SUBSYS_NFTABLES<<8|what, flags, unix.NFPROTO_INET, 0, attrs)
}

// message is nlmsghdr, nfgenmsg and attributes.
func (t *batch) message(typ, flags int, family byte, resource uint16, attrs []byte) {
	e := binary.NativeEndian
	t.b = e.AppendUint32(t.b, uint32(unix.SizeofNlMsghdr+genmsgBytes+len(attrs)))
	t.b = e.AppendUint16(t.b, uint16(typ))
	t.b = e.AppendUint16(t.b, uint16(flags)|unix.NLM_F_REQUEST)
	t.b = e.AppendUint32(t.b, t.seq)
	t.b = append(t.b, 0, 0, 0, 0, family, 0) // the port is the kernel's to fill in
	t.b = binary.BigEndian.AppendUint16(t.b, resource)
	t.b = append(t.b, attrs...)
}

// attr appends an attribute.
func attr(b []byte, typ int, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(attrBytes+len(value)))
	b = binary.NativeEndian.AppendUint16(b, uint16(typ))
	b = append(b, value...)
	return append(b, make([]byte, -len(value)&3)...)
}

func text(b []byte, typ int, s string) []byte { return attr(b, typ, append([]byte(s), 0)) }

func number(b []byte, typ int, n uint32) []byte {
	return attr(b, typ, binary.BigEndian.AppendUint32(nil, n))
}

// inside appends an attribute that is made of others.
func inside(b []byte, typ int, attrs []byte) []byte { return attr(b, typ|nested, attrs) }

// attrs splits attributes. It reports whether they were whole.
func attrs(b []byte, each func(typ int, value []byte)) bool {
	for len(b) > 0 {
		if len(b) < attrBytes {
			return false
		}
		n := int(binary.NativeEndian.Uint16(b))
		if n < attrBytes || n > len(b) {
			return false
		}
		each(int(binary.NativeEndian.Uint16(b[2:])&attrMask), b[attrBytes:n])
		b = b[min((n+3)&^3, len(b)):]
	}
	return true
}
