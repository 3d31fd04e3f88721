package nft

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"ckpt/internal/netlink"
)

// From uapi linux/netfilter/nfnetlink.h and nf_tables.h.
const genmsgBytes = 4 // struct nfgenmsg

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

func attr(b []byte, typ int, value []byte) []byte { return netlink.Attr(b, typ, value) }

func text(b []byte, typ int, s string) []byte { return netlink.Text(b, typ, s) }

func number(b []byte, typ int, n uint32) []byte {
	return attr(b, typ, binary.BigEndian.AppendUint32(nil, n))
}

func inside(b []byte, typ int, attrs []byte) []byte { return netlink.Inside(b, typ, attrs) }
