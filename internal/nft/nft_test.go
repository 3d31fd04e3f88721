package nft

import (
	"ckpt/internal/netlink"
	"ckpt/internal/testkit"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func dial(t *testing.T) *Conn {
	t.Helper()
	c, err := Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// connection makes one over the loopback interface.
func connection(t *testing.T, at string) (ours, theirs net.Conn, flow Flow) {
	t.Helper()
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if ours, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if theirs, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return ours, theirs, Flow{netip.MustParseAddrPort(ours.LocalAddr().String()), netip.MustParseAddrPort(ours.RemoteAddr().String())}
}

func arrives(t *testing.T, from, to net.Conn, patience time.Duration) bool {
	t.Helper()
	if _, err := from.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	_ = to.SetReadDeadline(time.Now().Add(patience))
	_, err := to.Read(make([]byte, 1))
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return err == nil
}

// TestHold: what is sent on a held connection arrives when it is held no longer, in both
// directions, and other connections are not held.
func TestHold(t *testing.T) {
	for _, at := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(at, func(t *testing.T) {
			testkit.InNetwork(t)
			ours, theirs, flow := connection(t, at)
			free, freed, _ := connection(t, at)
			c := dial(t)
			if err := c.Own("own", []Flow{flow}); err != nil {
				t.Fatal(err)
			}
			if !arrives(t, free, freed, time.Minute) || !arrives(t, freed, free, time.Minute) {
				t.Error("another connection is held, too")
			}
			if arrives(t, ours, theirs, 50*time.Millisecond) || arrives(t, theirs, ours, 50*time.Millisecond) {
				t.Error("the connection is not held")
			}
			other := dial(t)
			if flows, ok, err := other.Held("own"); err != nil || !ok || !slices.Equal(flows, []Flow{flow}) {
				t.Errorf("held are %v (%v, %v), not %v", flows, ok, err, flow)
			}
			if err := other.Delete("own"); !errors.Is(err, unix.EPERM) {
				t.Errorf("another may delete it: %v", err)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			if _, ok, err := other.Held("own"); err != nil || ok {
				t.Errorf("it is still there: %v", err)
			}
			if !arrives(t, ours, theirs, time.Minute) || !arrives(t, theirs, ours, time.Minute) {
				t.Error("nothing arrives")
			}
		})
	}
}

// TestExchange: a lasting table takes the place, what is in it times out, and thousands of
// connections fit in.
func TestExchange(t *testing.T) {
	testkit.InNetwork(t)
	var flows []Flow
	for i := range 3000 {
		local := netip.AddrPortFrom(netip.MustParseAddr([]string{"127.0.0.1", "::1", "::ffff:127.0.0.2"}[i%3]), uint16(i+1))
		flows = append(flows, Flow{local, local})
	}
	c, other := dial(t), dial(t)
	if err := c.Own("own", flows); err != nil {
		t.Fatal(err)
	}
	if err := c.Exchange("own", "lasting", "a comment", flows, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := other.Held("own"); ok || err != nil {
		t.Errorf("the first is still there: %v", err)
	}
	if held, ok, err := other.Held("lasting"); len(held) != len(flows) || !ok || err != nil {
		t.Errorf("%d are held of %d: %v %v", len(held), len(flows), ok, err)
	}
	if err := other.Exchange("own", "second", "", flows[:1], time.Hour); !errors.Is(err, unix.ENOENT) {
		t.Errorf("one that is not there was exchanged: %v", err)
	}
	if _, ok, _ := other.Held("second"); ok {
		t.Error("half of that was done")
	}
	if err := errors.Join(other.Delete("lasting"), other.Own("own", nil), other.Exchange("own", "lasting", "", flows[:3], time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		held, ok, err := other.Held("lasting")
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		if len(held) == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("it does not time out")
		}
	}
}

func FuzzMessages(f *testing.F) {
	t := newBatch(7)
	t.addTable("a", 0, "comment")
	t.addFlows("a", []Flow{{netip.MustParseAddrPort("127.0.0.1:5"), netip.MustParseAddrPort("127.0.0.1:6")}}, time.Second)
	f.Add(t.end())
	f.Add([]byte{20, 0, 0, 0, 2, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		var flows []Flow
		_, _ = netlink.Split(b, 7, func(_ int, b []byte) error {
			return errors.Join(families[0].elements(b, &flows), families[1].elements(b, &flows))
		})
		for _, flow := range flows {
			if got, ok := flow.of().flow(flow.key()); !ok || got.Local.Port() != flow.Local.Port() {
				t.Errorf("%v becomes %v", flow, got)
			}
		}
	})
}
