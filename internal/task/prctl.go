package task

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"ckpt/internal/caps"
	"ckpt/internal/proc"
	"ckpt/internal/puppet"
	"ckpt/internal/tracee"
	"ckpt/stream/record"
)

// attribute is something that prctl(2) gets and sets.
type attribute struct {
	name    string
	process bool // it belongs to the process, not to each thread
	get     uint64
	pointer bool // PR_GET_ stores an int instead of returning the value
	set     func(v uint64) []uint64
}

func plain(op uint64) func(uint64) []uint64 {
	return func(v uint64) []uint64 { return []uint64{op, v, 0, 0, 0} }
}

// ioFlusher is the only attribute that takes a capability.
const ioFlusher = "io_flusher"

// tiles: a process may use the tiles of AMX. It is read and set by arch_prctl(2).
const tiles = "amx_tiles"

// attributes, in the order in which they are set. All come after the credentials,
// because a change of those clears the parent-death signal.
var attributes = []attribute{
	{"timer_slack", false, unix.PR_GET_TIMERSLACK, false, plain(unix.PR_SET_TIMERSLACK)},
	{"tsc", false, unix.PR_GET_TSC, true, plain(unix.PR_SET_TSC)},
	{"mce_kill", false, unix.PR_MCE_KILL_GET, false, func(v uint64) []uint64 {
		return []uint64{unix.PR_MCE_KILL, unix.PR_MCE_KILL_SET, v, 0, 0}
	}},
	{"thp_disable", true, unix.PR_GET_THP_DISABLE, false, func(v uint64) []uint64 {
		return []uint64{unix.PR_SET_THP_DISABLE, v & 1, v &^ 1, 0, 0} // has flags since kernel 6.18
	}},
	{ioFlusher, false, unix.PR_GET_IO_FLUSHER, false, plain(unix.PR_SET_IO_FLUSHER)},
	{"memory_merge", true, unix.PR_GET_MEMORY_MERGE, false, plain(unix.PR_SET_MEMORY_MERGE)},
	{"mdwe", true, unix.PR_GET_MDWE, false, plain(unix.PR_SET_MDWE)},
	{"child_subreaper", true, unix.PR_GET_CHILD_SUBREAPER, true, plain(unix.PR_SET_CHILD_SUBREAPER)},
	{"pdeathsig", false, unix.PR_GET_PDEATHSIG, true, plain(unix.PR_SET_PDEATHSIG)},
}

// prctl: all attributes. One that this kernel does not know is left out.
var prctl = row[record.Prctl]{
	Type:     record.TypePrctl,
	Required: true,
	First:    true,
	Asks: func(c *Collector) (all []tracee.Query) {
		if c.TID == c.PID {
			all = append(all, tracee.TilesQuery)
		}
		for _, a := range attributes {
			if a.process && c.TID != c.PID {
				continue
			}
			if _, told := a.inProc(c); !told {
				all = append(all, a.query())
			}
		}
		return all
	},
	Collect: func(c *Collector) error {
		rec := record.Prctl{PID: c.PID, TID: c.TID}
		for _, a := range attributes {
			if a.process && c.TID != c.PID || !a.process && c.Facts.ended() {
				continue
			}
			v, err := readAttribute(c, a)
			if err == unix.EINVAL || err == unix.EPERM {
				continue
			}
			if err != nil {
				return fmt.Errorf("pid %d: attribute %s: %w", c.TID, a.name, err)
			}
			rec.Values = append(rec.Values, record.PrctlValue{Name: a.name, Value: v})
		}
		if c.TID == c.PID {
			answer, err := c.answer(tracee.TilesQuery)
			if err != nil {
				return err
			}
			if answer.AllowsTiles() {
				rec.Values = append(rec.Values, record.PrctlValue{Name: tiles, Value: 1})
			}
		}
		return c.Emit(record.TypePrctl, &rec)
	},
	Check: checkPrctl,
	Here:  prctlHere,
	Restore: func(r *Restorer, p *record.Prctl) error {
		want := map[string]uint64{}
		for _, v := range p.Values {
			want[v.Name] = v.Value
		}
		if want[tiles] != 0 {
			r.Puppet.AllowTiles(r.vector())
		}
		for _, a := range attributes {
			v, ok := want[a.name]
			if !ok {
				continue
			}
			now, err := r.attribute(a)
			if err == nil && now == v || errors.Is(err, unix.EINVAL) && v == 0 { // 0 is what an attribute unknown to this kernel is anyway
				continue
			}
			r.call("set attribute "+a.name, unix.SYS_PRCTL, a.set(v)...)
		}
		return nil
	},
}.resource()

// inProc reads an attribute from /proc if it is there, which is faster than a call.
func (a attribute) inProc(c *Collector) (v uint64, told bool) {
	switch a.get {
	case unix.PR_GET_TIMERSLACK:
		if c.Facts.slack != nil {
			return *c.Facts.slack, true
		}
	case unix.PR_GET_MEMORY_MERGE:
		if c.merges == nil {
			merges, err := proc.MergesMemory(c.TID)
			merges = merges || err != nil
			c.merges = &merges
		}
		return 0, !*c.merges
	}
	return 0, false
}

func readAttribute(c *Collector, a attribute) (uint64, error) {
	if v, told := a.inProc(c); told {
		return v, nil
	}
	answer, err := c.answer(a.query())
	if err != nil {
		return 0, err
	}
	return a.value(answer)
}

// attribute returns the present value in a puppet. All puppets inherit the same
// from the stub, except for PR_SET_CHILD_SUBREAPER: it may have been set to make
// the tree, so it is always set again.
func (r *Restorer) attribute(a attribute) (uint64, error) {
	if a.get == unix.PR_GET_CHILD_SUBREAPER {
		return 0, unix.ENODATA
	}
	if v, ok := r.Inherited.values[a.name]; ok {
		return v, nil
	}
	v, err := getAttribute(r.Puppet, a)
	if err == nil {
		r.Inherited.values[a.name] = v
	}
	return v, err
}

func getAttribute(p *puppet.Puppet, a attribute) (uint64, error) {
	answer, err := tracee.Ask(p, a.query())
	if err != nil {
		return 0, err
	}
	return a.value(answer)
}

func (a attribute) query() tracee.Query {
	if a.pointer {
		return query(4, unix.SYS_PRCTL, a.get, scratchArg, 0, 0, 0)
	}
	return query(0, unix.SYS_PRCTL, a.get, 0, 0, 0, 0)
}

func (a attribute) value(answer tracee.Answer) (uint64, error) {
	if answer.Err != nil || !a.pointer {
		return answer.Ret, answer.Err
	}
	return uint64(binary.LittleEndian.Uint32(answer.Data)), nil
}

// checkPrctl returns an error for each attribute that this version does not know.
func checkPrctl(p *record.Prctl) (errs []error) {
	for _, v := range p.Values {
		if v.Name != tiles && !slices.ContainsFunc(attributes, func(a attribute) bool { return a.name == v.Name }) {
			errs = append(errs, fmt.Errorf("pid %d has the attribute %q, which is not known to this version", p.TID, v.Name))
		}
	}
	return errs
}

// prctlHere returns an error for each attribute that this kernel does not know or
// that takes a capability we lack.
func prctlHere(h *Host, p *record.Prctl) (errs []error) {
	for _, a := range attributes {
		if i := slices.IndexFunc(p.Values, func(v record.PrctlValue) bool { return v.Name == a.name }); i < 0 || p.Values[i].Value == 0 {
			continue
		}
		if h.lacks(a.name, a.get) {
			errs = append(errs, fmt.Errorf("%s has the attribute %s, which this kernel does not know", h.Who(p.PID), a.name))
		}
	}
	if slices.Contains(p.Values, record.PrctlValue{Name: tiles, Value: 1}) {
		if err := tracee.TilesHere(); err != nil {
			errs = append(errs, fmt.Errorf("%s may use %w", h.Who(p.PID), err))
		}
	}
	if slices.Contains(p.Values, record.PrctlValue{Name: ioFlusher, Value: 1}) {
		errs = append(errs, h.Need(caps.Of(unix.CAP_SYS_RESOURCE), h.Who(p.PID), "mark %s as an I/O flusher")...)
	}
	return errs
}

// lacks reports whether this kernel does not know an attribute, and asks it once.
func (h *Host) lacks(name string, get uint64) bool {
	lacks, known := h.unknown[name]
	if !known {
		if h.unknown == nil {
			h.unknown = map[string]bool{}
		}
		lacks = unix.Prctl(int(get), 0, 0, 0, 0) == unix.EINVAL
		h.unknown[name] = lacks
	}
	return lacks
}
