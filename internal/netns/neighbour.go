package netns

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"ckpt/stream/record"
)

const (
	neighbourFlags = unix.NTF_ROUTER | unix.NTF_PROXY
	ndaProtocol    = 12 // NDA_PROTOCOL of linux/neighbour.h
)

// neighbours lists those that were made by hand.
func (c *Conn) neighbours() ([]record.Neighbour, error) {
	return again(func() (all []record.Neighbour, err error) {
		for _, family := range families {
			for _, flags := range []byte{0, unix.NTF_PROXY} {
				header := make([]byte, unix.SizeofNdMsg)
				header[0], header[10] = family, flags
				err := c.dump(unix.RTM_GETNEIGH, header, func(header, attrs []byte) error {
					n, err := parseNeighbour(header, attrs)
					if err == nil && n != nil {
						all = append(all, *n)
					}
					return err
				})
				if err != nil {
					return nil, err
				}
			}
		}
		return all, nil
	})
}

// parseNeighbour parses struct ndmsg and its attributes. It is nil if it was not made by hand.
func parseNeighbour(header, attrs []byte) (*record.Neighbour, error) {
	e := binary.NativeEndian
	t, err := tableOf(attrs)
	if err != nil || t.ip(unix.NDA_DST) == "" {
		return nil, err
	}
	state, flags := e.Uint16(header[8:]), int(header[10])
	if state&unix.NUD_PERMANENT == 0 && flags&unix.NTF_PROXY == 0 {
		return nil, nil
	}
	return &record.Neighbour{Index: int(e.Uint32(header[4:])), IP: t.ip(unix.NDA_DST), MAC: t.mac(unix.NDA_LLADDR), Flags: flags & neighbourFlags, Protocol: int(t.number(ndaProtocol))}, nil
}

func neighbourKey(n *record.Neighbour) string {
	k := *n
	k.Refs = record.PartOf{}
	return fmt.Sprintf("%+v", k)
}

func neighbourMessage(n *record.Neighbour) []byte {
	e := binary.NativeEndian
	b := e.AppendUint32([]byte{familyOf(n.IP), 0, 0, 0}, uint32(n.Index))
	b = append(e.AppendUint16(b, unix.NUD_PERMANENT), byte(n.Flags), 0)
	b = optional(optionalIP(b, unix.NDA_DST, n.IP), unix.NDA_LLADDR, macBytes(n.MAC))
	if n.Protocol != 0 {
		b = u8(b, ndaProtocol, uint8(n.Protocol))
	}
	return b
}

func (c *Conn) addNeighbour(n *record.Neighbour) error {
	return c.do(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, neighbourMessage(n))
}

func (c *Conn) deleteNeighbour(n *record.Neighbour) error {
	return c.do(unix.RTM_DELNEIGH, 0, neighbourMessage(n))
}
