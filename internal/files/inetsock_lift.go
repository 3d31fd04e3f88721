package files

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/cli"
	"ckpt/internal/ends"
	"ckpt/internal/nft"
	"ckpt/internal/repair"
	"ckpt/internal/tracee"
	"ckpt/stream"
	"ckpt/stream/record"
)

// The packets of connections that were kept are held until the tasks have their sockets and
// live without us.

// holdKept holds the packets of all connections that will be made.
func (m *inetMaker) holdKept() (err error) {
	k := &m.kept
	if k.tables != nil {
		return nil
	}
	if k.tables, err = nft.Dial(); err != nil {
		return err
	}
	repair.Sweep(k.tables)
	held, err := m.findLasting()
	if err != nil {
		return err
	}
	k.tell(m.Note, held)
	k.table = repair.TableName()
	return k.tables.Own(k.table, k.flows)
}

// findLasting finds the table in which ckpt-collect had the packets of this image's
// connections held. The image may name that of another.
func (m *inetMaker) findLasting() ([]nft.Flow, error) {
	k, name := &m.kept, repair.LastingName(m.Checkpoint)
	if name == "" {
		return nil, nil
	}
	held, there, err := k.tables.Held(name)
	if err != nil || !there {
		return nil, err
	}
	for _, f := range held {
		if !k.image[f] {
			m.Note("the table inet %s of nft(8) holds the connection %v to %v, which is none of this image, and stays", name, f.Local, f.Peer)
			return nil, nil
		}
	}
	k.lasting = name
	return held, nil
}

// tell tells of connections whose packets are no longer held.
func (k *kept) tell(note func(string, ...any), held []nft.Flow) {
	there := make(map[nft.Flow]bool, len(held))
	for _, f := range held {
		there[f] = true
	}
	var loose []string
	for _, f := range k.flows {
		if !there[f] {
			loose = append(loose, ends.TCP(f.Peer))
		}
	}
	if len(loose) > 0 {
		note("nothing holds the packets of these connections any more: %s; one where the other side has sent something meanwhile is reset", fewOf(loose))
	}
}

// letGo lets packets through again, if they were held.
func (k *kept) letGo() error {
	if k.tables == nil {
		return nil
	}
	err := k.tables.Close()
	k.tables = nil
	return err
}

// each does something with the sockets of all kept connections, which only the tasks
// still have.
func (k *kept) each(socks []*inetSock, do func(s *inetSock, fd int) error) (done int, err error) {
	for i, s := range socks {
		at, ok := s.m.replacements.at[s.rec.Objref]
		if !ok {
			return i, fmt.Errorf("%w: no descriptor has %s", stream.ErrCorrupt, nameOf(s.rec))
		}
		fd, err := tracee.GetFD(at.tid, at.fd)
		if err == nil {
			err = errors.Join(do(s, fd), os.NewSyscallError("close", unix.Close(fd)))
		}
		if err != nil {
			return i, fmt.Errorf("have the connection of %s to %v go on: %w", nameOf(s.rec), addrPort(s.rec.Peer), err)
		}
	}
	return len(socks), nil
}

// abortive has a connection end at once when it is closed.
func abortive(fd int) error {
	return os.NewSyscallError("setsockopt", unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}))
}

// asProgram sets what was different so far.
func (s *inetSock) asProgram(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, s.reuse()); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	i := slices.IndexFunc(s.rec.Options, func(o record.LevelOption) bool { return o.Level == unix.SOL_SOCKET && o.Name == unix.SO_LINGER })
	if i >= 0 {
		return setOptions(fd, s.rec.Options[i:i+1])
	}
	return os.NewSyscallError("setsockopt", unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{}))
}

// certainKept does what can fail, when all tasks only have to be let go.
func (m *inetMaker) certainKept() (err error) {
	k := &m.kept
	if len(k.image) == 0 {
		return nil
	}
	if k.tables == nil && m.Killed { // none of the image's connections goes on, of which the other sides are told
		if k.tables, err = nft.Dial(); err != nil {
			return err
		}
		if _, err := m.findLasting(); err != nil {
			m.Note("the other side of connections is still left waiting: %v", err)
		}
	}
	done, err := k.each(k.socks, (*inetSock).asProgram)
	if err != nil {
		_, aerr := k.each(k.socks[:done], func(_ *inetSock, fd int) error { return abortive(fd) })
		return errors.Join(err, aerr)
	}
	return nil
}

// liftKept lets the packets through, when the tasks live without us.
func (m *inetMaker) liftKept() error {
	k := &m.kept
	if k.tables == nil {
		return nil
	}
	var tables []string
	for _, name := range []string{k.table, k.lasting} {
		if name != "" {
			tables = append(tables, name)
		}
	}
	var err error
	if len(tables) > 0 {
		err = k.tables.Delete(tables...)
	}
	if err != nil && k.lasting != "" {
		err = cli.WithHint(fmt.Errorf("TCP connections do not go on yet: %w", err), "delete the table that holds them: nft delete table inet "+k.lasting)
	}
	if _, perr := k.each(k.socks, (*inetSock).push); perr != nil {
		m.Note("%v", perr) // it goes on all the same, only later
	}
	return errors.Join(err, k.letGo())
}

// push has what was not sent yet sent now.
func (s *inetSock) push(fd int) error {
	if len(s.unsent) == 0 {
		return nil
	}
	was, err := unix.GetsockoptInt(fd, unix.SOL_TCP, unix.TCP_NODELAY)
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_TCP, unix.TCP_NODELAY, 1)
	}
	if err == nil && was == 0 {
		err = unix.SetsockoptInt(fd, unix.SOL_TCP, unix.TCP_NODELAY, 0)
	}
	return os.NewSyscallError("setsockopt", err)
}
