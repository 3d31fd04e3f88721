package nft

import (
	"encoding/binary"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Flow is a TCP connection, seen from here.
type Flow struct{ Local, Peer netip.AddrPort }

// family is what differs between the families of addresses.
type family struct {
	set      string
	proto    byte // NFPROTO_
	addr     int  // size of an address
	src, dst int  // where they are in a packet
	typ      uint32
}

// nft(8) gives each type of a key a number, and six bits to each of several.
const (
	typeIPv4, typeIPv6, typePort = 7, 8, 13
	typeBits                     = 6
)

func keyType(addr uint32) uint32 {
	return addr<<(3*typeBits) | typePort<<(2*typeBits) | addr<<typeBits | typePort
}

var families = [...]family{
	{"tcp4", unix.NFPROTO_IPV4, 4, 12, 16, keyType(typeIPv4)},
	{"tcp6", unix.NFPROTO_IPV6, 16, 8, 24, keyType(typeIPv6)},
}

// of returns the family of a connection. IPv4 that an IPv6 socket speaks is IPv4.
func (f Flow) of() *family {
	if f.Local.Addr().Unmap().Is4() {
		return &families[0]
	}
	return &families[1]
}

const (
	portBytes      = 4 // as they stand in a key
	tableOwner     = 2 // NFT_TABLE_F_OWNER
	verdictReg     = 0 // NFT_REG_VERDICT
	commentType    = 0 // NFTNL_UDATA_TABLE_COMMENT
	tableUserdata  = 6 // NFTA_TABLE_USERDATA
	tableOwnerID   = 7 // NFTA_TABLE_OWNER
	firstReg       = unix.NFT_REG32_00
	hookIn         = 1 // NF_INET_LOCAL_IN
	hookOut        = 3 // NF_INET_LOCAL_OUT
	lastPriority   = 500
	firstPriority  = -500
	acceptPolicy   = 1   // NF_ACCEPT
	elementsAtOnce = 400 // an attribute has at most 64 KiB
)

func (f *family) keyBytes() int { return 2 * (f.addr + portBytes) }

// key is what stands for a connection in a set.
func (f Flow) key() []byte {
	var b []byte
	for _, a := range []netip.AddrPort{f.Local, f.Peer} {
		b = append(b, a.Addr().Unmap().AsSlice()...)
		b = append(binary.BigEndian.AppendUint16(b, a.Port()), 0, 0)
	}
	return b
}

// flow is the inverse of key.
func (f *family) flow(key []byte) (Flow, bool) {
	if len(key) != f.keyBytes() {
		return Flow{}, false
	}
	end := func(b []byte) netip.AddrPort {
		ip, _ := netip.AddrFromSlice(b[:f.addr])
		return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(b[f.addr:]))
	}
	return Flow{end(key), end(key[len(key)/2:])}, true
}

// addTable adds a table with its sets and chains.
func (t *batch) addTable(name string, flags uint32, comment string) {
	const create = unix.NLM_F_CREATE | unix.NLM_F_EXCL
	b := number(text(nil, unix.NFTA_TABLE_NAME, name), unix.NFTA_TABLE_FLAGS, flags)
	if comment != "" {
		b = attr(b, tableUserdata, append([]byte{commentType, byte(len(comment) + 1)}, comment+"\x00"...))
	}
	t.add(unix.NFT_MSG_NEWTABLE, create|unix.NLM_F_ACK, b)
	for i := range families {
		f := &families[i]
		b := text(text(nil, unix.NFTA_SET_TABLE, name), unix.NFTA_SET_NAME, f.set)
		b = number(number(b, unix.NFTA_SET_FLAGS, unix.NFT_SET_TIMEOUT), unix.NFTA_SET_KEY_TYPE, f.typ)
		b = number(number(b, unix.NFTA_SET_KEY_LEN, uint32(f.keyBytes())), unix.NFTA_SET_ID, uint32(i+1))
		t.add(unix.NFT_MSG_NEWSET, create, b)
	}
	t.addChain(name, "input", hookIn, lastPriority)
	t.addChain(name, "output", hookOut, firstPriority)
}

// addChain adds a chain of a hook, with a rule for each family.
func (t *batch) addChain(table, name string, hook uint32, priority int32) {
	b := text(text(nil, unix.NFTA_CHAIN_TABLE, table), unix.NFTA_CHAIN_NAME, name)
	b = inside(b, unix.NFTA_CHAIN_HOOK, number(number(nil, unix.NFTA_HOOK_HOOKNUM, hook), unix.NFTA_HOOK_PRIORITY, uint32(priority)))
	b = text(number(b, unix.NFTA_CHAIN_POLICY, acceptPolicy), unix.NFTA_CHAIN_TYPE, "filter")
	t.add(unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, b)
	for i := range families {
		b := text(text(nil, unix.NFTA_RULE_TABLE, table), unix.NFTA_RULE_CHAIN, name)
		b = inside(b, unix.NFTA_RULE_EXPRESSIONS, families[i].rule(uint32(i+1), hook == hookIn))
		t.add(unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, b)
	}
}

// rule drops the packets of the connections in the family's set, by number.
func (f *family) rule(set uint32, in bool) []byte {
	b := meta(nil, unix.NFT_META_NFPROTO, f.proto)
	b = meta(b, unix.NFT_META_L4PROTO, unix.IPPROTO_TCP)
	const sport, dport = 0, 2
	local, localPort, peer, peerPort := f.src, sport, f.dst, dport
	if in {
		local, localPort, peer, peerPort = f.dst, dport, f.src, sport
	}
	reg := uint32(firstReg)
	for _, p := range []struct{ base, at, n int }{
		{unix.NFT_PAYLOAD_NETWORK_HEADER, local, f.addr}, {unix.NFT_PAYLOAD_TRANSPORT_HEADER, localPort, 2},
		{unix.NFT_PAYLOAD_NETWORK_HEADER, peer, f.addr}, {unix.NFT_PAYLOAD_TRANSPORT_HEADER, peerPort, 2},
	} {
		d := number(number(nil, unix.NFTA_PAYLOAD_DREG, reg), unix.NFTA_PAYLOAD_BASE, uint32(p.base))
		b = expr(b, "payload", number(number(d, unix.NFTA_PAYLOAD_OFFSET, uint32(p.at)), unix.NFTA_PAYLOAD_LEN, uint32(p.n)))
		reg += uint32(p.n+3) / 4
	}
	d := number(text(nil, unix.NFTA_LOOKUP_SET, f.set), unix.NFTA_LOOKUP_SREG, firstReg)
	b = expr(b, "lookup", number(d, unix.NFTA_LOOKUP_SET_ID, set))
	const drop = 0 // NF_DROP
	verdict := inside(nil, unix.NFTA_DATA_VERDICT, number(nil, unix.NFTA_VERDICT_CODE, drop))
	return expr(b, "immediate", inside(number(nil, unix.NFTA_IMMEDIATE_DREG, verdictReg), unix.NFTA_IMMEDIATE_DATA, verdict))
}

// meta goes on only if a property of the packet has this value.
func meta(b []byte, key uint32, value byte) []byte {
	b = expr(b, "meta", number(number(nil, unix.NFTA_META_DREG, firstReg), unix.NFTA_META_KEY, key))
	d := number(number(nil, unix.NFTA_CMP_SREG, firstReg), unix.NFTA_CMP_OP, unix.NFT_CMP_EQ)
	return expr(b, "cmp", inside(d, unix.NFTA_CMP_DATA, attr(nil, unix.NFTA_DATA_VALUE, []byte{value})))
}

func expr(b []byte, name string, data []byte) []byte {
	return inside(b, unix.NFTA_LIST_ELEM, inside(text(nil, unix.NFTA_EXPR_NAME, name), unix.NFTA_EXPR_DATA, data))
}

// addFlows puts connections into the sets of a table; 0: for ever.
func (t *batch) addFlows(table string, flows []Flow, timeout time.Duration) {
	for i := range families {
		var elements []byte
		n := 0
		flush := func() {
			if n == 0 {
				return
			}
			b := text(text(nil, unix.NFTA_SET_ELEM_LIST_TABLE, table), unix.NFTA_SET_ELEM_LIST_SET, families[i].set)
			b = number(b, unix.NFTA_SET_ELEM_LIST_SET_ID, uint32(i+1))
			t.add(unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, inside(b, unix.NFTA_SET_ELEM_LIST_ELEMENTS, elements))
			elements, n = nil, 0
		}
		for _, flow := range flows {
			if flow.of() != &families[i] {
				continue
			}
			e := inside(nil, unix.NFTA_SET_ELEM_KEY, attr(nil, unix.NFTA_DATA_VALUE, flow.key()))
			if timeout > 0 {
				e = attr(e, unix.NFTA_SET_ELEM_TIMEOUT, binary.BigEndian.AppendUint64(nil, uint64(max(timeout.Milliseconds(), 1))))
			}
			elements = inside(elements, unix.NFTA_LIST_ELEM, e)
			if n++; n == elementsAtOnce {
				flush()
			}
		}
		flush()
	}
}

// deleteTable deletes a table with all that is in it.
func (t *batch) deleteTable(name string) {
	t.add(unix.NFT_MSG_DELTABLE, unix.NLM_F_ACK, text(nil, unix.NFTA_TABLE_NAME, name))
}
