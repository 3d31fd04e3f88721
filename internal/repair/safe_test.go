package repair

import (
	"errors"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ckpt/internal/nft"
	"ckpt/internal/sys"
	"ckpt/internal/testkit"
)

// TestGuardStopped: a guard that does not answer is killed, and the socket is as it was.
func TestGuardStopped(t *testing.T) {
	testkit.InNetwork(t)
	c := newTarget(t, "127.0.0.1:0")
	testkit.Check(t, unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
	k := start(t, c)
	testkit.Check(t, unix.Kill(k.GuardPID(), unix.SIGSTOP))
	if _, err := read(k, c.dup()); !errors.Is(err, ErrGuard) {
		t.Errorf("of a guard that is stopped: %v", err)
	}
	if reuse := testkit.Must(unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR))(t); Is(c.fd) || reuse != 1 {
		t.Errorf("in repair: %v, SO_REUSEADDR is %d", Is(c.fd), reuse)
	}
	testkit.Check(t, k.Close())
	c.write("goes on")
	c.peerReads("goes on")
}

// TestThief: another process that has the socket, too, and waits for the moment in which it
// is in repair, does not keep the port on which somebody listens.
func TestThief(t *testing.T) {
	testkit.InNetwork(t)
	victim := socket(t, unix.AF_INET)
	defer unix.Close(victim)
	testkit.Check(t, errors.Join(unix.Bind(victim, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(victim, 5)))
	port := testkit.Must(unix.Getsockname(victim))(t)
	var fd atomic.Int64
	var rounds, taken atomic.Int64
	end := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer close(end)
		for ; fd.Load() >= 0; rounds.Add(1) {
			if s := int(fd.Load()); s > 0 && Is(s) {
				_ = sys.Disconnect(s)
				if unix.Bind(s, port) == nil && unix.Listen(s, 5) == nil {
					taken.Add(1)
				}
				_ = unix.Listen(s, 5)
			}
		}
	}()
	const times = 300
	changed, kept := 0, 0
	for range times {
		c := newTarget(t, "127.0.0.1:0")
		fd.Store(int64(c.fd))
		if _, err := take(c.fd); err != nil {
			changed++
		}
		fd.Store(0)
		for now := rounds.Load(); rounds.Load() < now+2; {
			runtime.Gosched()
		}
		if info := testkit.Must(unix.GetsockoptTCPInfo(c.fd, unix.SOL_TCP, unix.TCP_INFO))(t); info.State == sys.TCPListen && addrPort(testkit.Must(unix.Getsockname(c.fd))(t)) == addrPort(port) {
			kept++
		}
		unix.Close(c.fd)
		c.peer.Close()
	}
	fd.Store(-1)
	<-end
	if kept > 0 {
		t.Errorf("of %d times the thief has the port %d times", times, kept)
	}
	t.Logf("of %d times the socket was changed %d times, and had the port for an instant %d times", times, changed, taken.Load())
}

// TestSweep: only lasting tables in which nothing is left are removed.
func TestSweep(t *testing.T) {
	testkit.InNetwork(t)
	c := newTarget(t, "127.0.0.1:0")
	tables := testkit.Must(nft.Dial())(t)
	defer tables.Close()
	over, lasts, others, own := LastingName("00112233445566778899aabbccddeeff"), LastingName("ff112233445566778899aabbccddeeff"), "ckpt-filter", TableName()
	for name, timeout := range map[string]time.Duration{over: time.Millisecond, lasts: time.Hour, others: time.Millisecond} {
		own := TableName()
		testkit.Check(t, tables.Own(own, nil))
		testkit.Check(t, tables.Exchange(own, name, "of a test", []nft.Flow{c.flow}, timeout))
	}
	testkit.Check(t, tables.Own(own, nil))
	there := func(name string) bool {
		_, is, err := tables.Held(name)
		return is && err == nil
	}
	soon(t, "nothing times out", func() bool {
		Sweep(tables)
		return !there(over)
	})
	if !there(lasts) || !there(others) || !there(own) {
		t.Errorf("removed were more: %v %v %v", there(lasts), there(others), there(own))
	}
	if LastingName("filter") != "" || LastingName("../00112233445566778899aabbccddeeff") != "" {
		t.Error("anything is the id of a checkpoint")
	}
}
