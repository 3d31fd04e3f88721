package record

import (
	"encoding/binary"
	"reflect"
	"strconv"
	"strings"
)

// ID is a place in a record that holds the id of a process or thread, or of the process
// group or session that has the id of its leader.
type ID struct {
	get func() int
	set func(int)
}

// Get returns the id; 0 stands for none.
func (i ID) Get() int { return i.get() }

// Set replaces it.
func (i ID) Set(id int) { i.set(id) }

// EachID calls visit for every id in a record's Go struct, to which meta points: the
// fields whose range is that of process ids, the clocks that are named by such an id, the
// senders of signals, and the paths of proc(5).
func EachID(meta any, visit func(ID)) { eachID(reflect.ValueOf(meta).Elem(), "", visit) }

func eachID(v reflect.Value, holds reflect.StructTag, visit func(ID)) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			eachID(v.Elem(), holds, visit)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				eachID(v.Field(i), f.Tag, visit)
			}
		}
	case reflect.Slice:
		if holds.Get("holds") == "siginfo" && v.Type().Elem().Kind() == reflect.Uint8 {
			eachSender(v.Bytes(), visit)
			return
		}
		switch v.Type().Elem().Kind() {
		case reflect.Pointer, reflect.Struct, reflect.Slice:
			for i := range v.Len() {
				eachID(v.Index(i), holds, visit)
			}
		}
	case reflect.Int:
		eachInt(v, holds, visit)
	case reflect.String:
		if holds.Get("holds") == "procpath" {
			eachInPath(v, visit)
		}
	}
}

func eachInt(v reflect.Value, tag reflect.StructTag, visit func(ID)) {
	switch {
	case tag.Get("holds") == "clockid":
		if id := ClockOwner(int(v.Int())); id != 0 {
			visit(ID{func() int { return id }, func(id int) { v.SetInt(v.Int()&clockType | int64(^id)<<clockShift) }})
		}
	case tag.Get("range") == "pid" || tag.Get("range") == "pid or 0":
		visit(ID{func() int { return int(v.Int()) }, func(id int) { v.SetInt(int64(id)) }})
	}
}

// eachInPath: /proc/PID and /proc/PID/task/TID.
func eachInPath(v reflect.Value, visit func(ID)) {
	for _, at := range []int{2, 4} {
		parts := strings.Split(v.String(), "/")
		if len(parts) <= at || parts[0] != "" || parts[1] != "proc" || at == 4 && parts[3] != "task" {
			return
		}
		id, err := strconv.Atoi(parts[at])
		if err != nil || id <= 0 {
			return
		}
		visit(ID{func() int { return id }, func(id int) {
			parts[at] = strconv.Itoa(id)
			v.SetString(strings.Join(parts, "/"))
		}})
	}
}

// A CPU clock of a process or thread is ^id<<3 with three bits that say which, see
// linux/posix-timers_types.h.
const (
	clockShift = 3
	clockType  = 1<<clockShift - 1
)

// ClockOwner returns the id of the process or thread that a CPU clock is of; 0: it is of
// the caller, or no such clock.
func ClockOwner(clock int) int {
	const device = 3 // in the place of a CPU clock's type
	if clock >= 0 || clock&device == device {
		return 0
	}
	return ^(clock >> clockShift)
}

// Of siginfo_t, asm-generic/siginfo.h: signals that tell who sent them.
const (
	siSigno, siCode, siPID = 0, 8, 16
	siUser, siQueue        = 0, -1
	siMesgQ, siTkill       = -3, -6
	sigCHLD                = 17
)

func eachSender(info []byte, visit func(ID)) {
	if len(info) < siPID+4 {
		return
	}
	word := func(at int) int { return int(int32(binary.LittleEndian.Uint32(info[at:]))) }
	switch code := word(siCode); {
	case code == siUser, code == siQueue, code == siMesgQ, code == siTkill, code > 0 && word(siSigno) == sigCHLD:
		visit(ID{func() int { return word(siPID) }, func(id int) { binary.LittleEndian.PutUint32(info[siPID:], uint32(id)) }})
	}
}
