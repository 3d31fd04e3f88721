package files

import (
	"bytes"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/proc"
	"ckpt/internal/sys"
	"ckpt/stream"
	"ckpt/stream/record"
)

// maxOptionBytes bounds an option that is no integer: a filter of BPF_MAXINSNS.
const maxOptionBytes = 4096 * 8

// readOptions returns the options of a socket that the table has for sockets of this
// set, except those that other has with the same value, which is what readOptions
// returned for another socket of the set.
func readOptions(fd int, of sockSet, other []record.LevelOption) ([]record.LevelOption, error) {
	var list []record.LevelOption
	for i := range sockOptions {
		row := &sockOptions[i]
		if !row.applies(of) {
			continue
		}
		var same *record.LevelOption // both lists have the order of the table
		if len(other) > 0 && other[0].Level == row.level && other[0].Name == row.name {
			same, other = &other[0], other[1:]
		}
		o, err := row.read(fd)
		if errors.Is(err, unix.ENOPROTOOPT) || errors.Is(err, unix.EOPNOTSUPP) {
			continue // not in this kernel, or not for this type
		}
		if err != nil {
			return nil, fmt.Errorf("getsockopt %s: %w", row.text, err)
		}
		if same == nil || !sameOption(same, &o) {
			list = append(list, o)
		}
	}
	return list, nil
}

func sameOption(a, b *record.LevelOption) bool {
	return a.Level == b.Level && a.Name == b.Name && a.Value == b.Value && bytes.Equal(a.Bytes, b.Bytes)
}

// optionOf returns the value of an option in a list, and whether that has it.
func optionOf(list []record.LevelOption, level, name int) (int64, bool) {
	for i := range list {
		if list[i].Level == level && list[i].Name == name {
			return list[i].Value, true
		}
	}
	return 0, false
}

func (row *sockOption) read(fd int) (record.LevelOption, error) {
	o := record.LevelOption{Level: row.level, Name: row.name}
	switch row.kind {
	case optInt, optBuf:
		v, err := sys.GetsockoptInt(fd, row.level, row.name)
		o.Value = int64(v)
		return o, err
	case optTime:
		tv, err := unix.GetsockoptTimeval(fd, row.level, row.name)
		if err == nil {
			o.Value = tv.Nano() / 1000
		}
		return o, err
	case optLinger:
		l, err := unix.GetsockoptLinger(fd, row.level, row.name)
		o.Value = -1
		if err == nil && l.Onoff != 0 {
			o.Value = int64(l.Linger)
		}
		return o, err
	case optFilter:
		var err error
		o.Bytes, err = sys.SocketFilter(fd)
		return o, err
	}
	var b [256]byte
	n, err := sys.Getsockopt(fd, row.level, row.name, b[:])
	if err != nil {
		return o, err
	}
	o.Bytes = bytes.Clone(b[:n])
	if row.kind == optText {
		o.Bytes, _, _ = bytes.Cut(o.Bytes, []byte{0})
	}
	return o, nil
}

// checkOptions returns an error for options that are impossible or unknown, or not of
// sockets of this set.
func checkOptions(list []record.LevelOption, of sockSet) error {
	for i := range list {
		o := &list[i]
		row := findOption(o.Level, o.Name)
		if row == nil || !row.applies(of) {
			return fmt.Errorf("option %d of level %d of a socket is not known to this version", o.Name, o.Level)
		}
		isBytes := row.kind == optText || row.kind == optBytes || row.kind == optFilter
		least := map[optionKind]int64{optLinger: -1, optInt: -1 << 31}[row.kind]
		most := int64(1<<31 - 1)
		if row.kind == optTime {
			most = 1<<63 - 1
		}
		if !isBytes && (o.Value < least || o.Value > most || len(o.Bytes) > 0) || isBytes && (o.Value != 0 || len(o.Bytes) > maxOptionBytes) ||
			row.kind == optFilter && len(o.Bytes)%8 != 0 {
			return fmt.Errorf("%w: %s of a socket is %d with %d bytes", stream.ErrCorrupt, row.text, o.Value, len(o.Bytes))
		}
	}
	return nil
}

// setOptions is the inverse of readOptions. It sets them in the order of the table, and
// leaves alone what is already as it should be.
func setOptions(fd int, list []record.LevelOption) error {
	var errs []error
	for i := range sockOptions {
		row := &sockOptions[i]
		for j := range list {
			if o := &list[j]; o.Level == row.level && o.Name == row.name {
				errs = append(errs, row.set(fd, o))
			}
		}
	}
	return errors.Join(errs...)
}

func (row *sockOption) set(fd int, o *record.LevelOption) error {
	now, err := row.read(fd)
	if err == nil && sameOption(&now, o) {
		return nil
	}
	switch row.kind {
	case optInt:
		err = unix.SetsockoptInt(fd, row.level, row.name, int(o.Value))
	case optBuf:
		return setSockBuf(fd, row, int(o.Value))
	case optTime:
		tv := unix.NsecToTimeval(min(o.Value, maxTimeoutUS) * 1000)
		err = unix.SetsockoptTimeval(fd, row.level, row.name, &tv)
	case optLinger:
		l := unix.Linger{Onoff: 1, Linger: int32(o.Value)}
		if o.Value < 0 {
			l = unix.Linger{}
		}
		err = unix.SetsockoptLinger(fd, row.level, row.name, &l)
	case optFilter:
		err = sys.AttachFilter(fd, o.Bytes)
	case optText:
		err = sys.Setsockopt(fd, row.level, row.name, append(bytes.Clone(o.Bytes), 0))
	default:
		err = sys.Setsockopt(fd, row.level, row.name, o.Bytes)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOPROTOOPT) && row.since != "" && row.kind == optInt && o.Value == withoutOption[row.text]:
		return nil
	case errors.Is(err, unix.ENOPROTOOPT) && row.since != "":
		return fmt.Errorf("%s of a socket, which takes kernel %s: %w", row.text, row.since, err)
	}
	return fmt.Errorf("%s of a socket to %s: %w", row.text, optionText(o), err)
}

// withoutOption are the values of newer options, where not 0, with which a socket is as on a
// kernel that does not have them.
var withoutOption = map[string]int64{"SO_PASSRIGHTS": 1, "SO_TXREHASH": 1, "TCP_RTO_MIN_US": 200_000, "TCP_DELACK_MAX_US": 200_000}

// maxTimeoutUS is a limit whose nanoseconds are a number, of some centuries.
const maxTimeoutUS = (1<<63 - 1) / 1000

func optionText(o *record.LevelOption) string {
	if len(o.Bytes) > 0 {
		return fmt.Sprintf("%q", o.Bytes)
	}
	return fmt.Sprint(o.Value)
}

// setSockBuf sets a buffer's size. The kernel doubles the value, after capping it
// at a limit that only the FORCE variants may exceed.
func setSockBuf(fd int, row *sockOption, want int) error {
	force := map[int]int{unix.SO_SNDBUF: unix.SO_SNDBUFFORCE, unix.SO_RCVBUF: unix.SO_RCVBUFFORCE}[row.name]
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, want/2) != nil {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, row.name, want/2); err != nil {
			return fmt.Errorf("%s of a socket: %w", row.text, err)
		}
	}
	now, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, row.name)
	if err == nil && now != want {
		return fmt.Errorf("%s of a socket can't be %d bytes again, only %d; more takes CAP_NET_ADMIN, see socket(7)", row.text, want, now)
	}
	return os.NewSyscallError("getsockopt", err)
}

// optionsHere: what it takes to set the options of a socket. who names it.
func (r *Restorer) optionsHere(who string, list []record.LevelOption) (errs []error) {
	for i := range list {
		o := &list[i]
		row := findOption(o.Level, o.Name)
		if row == nil {
			continue
		}
		if row.kind == optBuf {
			errs = append(errs, r.bufferHere(who, row, o.Value)...)
			continue
		}
		if row.needs == nil {
			continue
		}
		set := row.needs(o)
		if set&caps.Set(r.Own.CapEff) != 0 {
			continue // any of them suffices
		}
		if set.Has(caps.Of(unix.CAP_NET_ADMIN)) {
			set = caps.Of(unix.CAP_NET_ADMIN)
		}
		errs = append(errs, r.Own.Need(set, who, "set "+row.text+" of %s")...)
	}
	return errs
}

func (r *Restorer) bufferHere(who string, row *sockOption, size int64) []error {
	limit := "wmem_max"
	if row.name == unix.SO_RCVBUF {
		limit = "rmem_max"
	}
	most, err := proc.ReadSysctl("net/core/" + limit)
	if err != nil || size <= 2*most {
		return nil
	}
	return r.Own.Need(caps.Of(unix.CAP_NET_ADMIN), who, fmt.Sprintf("give %%s a buffer of %d bytes, more than net.core.%s", size, limit))
}

// readSockOptions fills in the options of a unix socket.
func readSockOptions(fd int, rec *record.UnixSock) error {
	list, err := readOptions(fd, ofUnix, nil)
	if err != nil {
		return err
	}
	for i := range list {
		switch o := &list[i]; o.Name {
		case unix.SO_SNDBUF:
			rec.SndBuf = int(o.Value)
		case unix.SO_RCVBUF:
			rec.RcvBuf = int(o.Value)
		case unix.SO_SNDTIMEO:
			rec.SndTimeo = o.Value
		case unix.SO_RCVTIMEO:
			rec.RcvTimeo = o.Value
		case unix.SO_LINGER:
			if o.Value >= 0 {
				rec.Linger = &record.Linger{Seconds: int(o.Value)}
			}
		default:
			rec.Options = append(rec.Options, record.SockOption{Name: o.Name, Value: int(o.Value)})
		}
	}
	return nil
}

// unixOptions returns the options of a unix socket as the table has them.
func unixOptions(rec *record.UnixSock) []record.LevelOption {
	list := make([]record.LevelOption, 0, len(rec.Options)+5)
	add := func(name int, value int64) {
		list = append(list, record.LevelOption{Level: unix.SOL_SOCKET, Name: name, Value: value})
	}
	for _, o := range rec.Options {
		add(o.Name, int64(o.Value))
	}
	add(unix.SO_SNDBUF, int64(rec.SndBuf))
	add(unix.SO_RCVBUF, int64(rec.RcvBuf))
	add(unix.SO_SNDTIMEO, rec.SndTimeo)
	add(unix.SO_RCVTIMEO, rec.RcvTimeo)
	if rec.Linger != nil {
		add(unix.SO_LINGER, int64(rec.Linger.Seconds))
	}
	return list
}

// checkSockOptions returns an error for impossible or unknown options.
func checkSockOptions(rec *record.UnixSock) error {
	if rec.Linger != nil && rec.Linger.Seconds < 0 {
		return fmt.Errorf("%w: a socket that lingers for %d seconds", stream.ErrCorrupt, rec.Linger.Seconds)
	}
	return checkOptions(unixOptions(rec), ofUnix)
}

// setSockOptions is the inverse of readSockOptions.
func setSockOptions(fd int, rec *record.UnixSock) error { return setOptions(fd, unixOptions(rec)) }
