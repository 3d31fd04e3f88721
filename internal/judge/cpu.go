package judge

import (
	"fmt"
	"slices"
	"strings"

	"ckpt/internal/cli"
	"ckpt/internal/tracee"
	"ckpt/stream/record"
)

// CPUPolicy says what this CPU must have.
type CPUPolicy string

const (
	CPUStrict CPUPolicy = "strict" // all that the program could have used
	CPUUsed   CPUPolicy = "used"   // the registers that it has values in
	CPUIgnore CPUPolicy = "ignore" // nothing; what those registers have is lost
)

// checkCPU compares the features of the CPU with those of the one on which the program found
// out what it can use. Images of older versions have none.
func checkCPU(h *record.Header, policy CPUPolicy) error {
	if policy != CPUStrict {
		return nil
	}
	here, err := tracee.OwnCPU()
	if err != nil {
		return err
	}
	lacks := slices.DeleteFunc(slices.Clone(h.CPUFeatures), func(name string) bool { return slices.Contains(here.Flags, name) })
	if len(lacks) == 0 {
		return moreRegisters(h.CPUFeatures, here.Flags)
	}
	const most = 40
	names := strings.Join(lacks[:min(len(lacks), most)], ", ")
	return cli.WithHint(fmt.Errorf("this CPU lacks what the program could have used where it was saved: %s", names),
		"restore it on a CPU that has that; if it was kept from using it, as GLIBC_TUNABLES does: --cpu used")
}

// moreRegisters is for programs whose dynamic linker saves registers with XSAVE, whenever it
// looks up a function, into room that it measured at their start: it would overrun that on a
// CPU with more. XSAVEC does not save those that are not in use.
func moreRegisters(was, here []string) error {
	if !slices.Contains(was, "xsave") || slices.Contains(was, "xsavec") {
		return nil
	}
	var more []string
	for _, name := range []string{"avx", "mpx", "avx512f"} {
		if slices.Contains(here, name) && !slices.Contains(was, name) {
			more = append(more, name)
		}
	}
	if more == nil {
		return nil
	}
	return cli.WithHint(fmt.Errorf("this CPU has registers (%s) that the one had not where the image was made, so that programs may lack room to save them", strings.Join(more, ", ")),
		"restore it on a CPU without them; if its programs are static, or were started with LD_BIND_NOW=1: --cpu used")
}

// HasPkeys reports whether a program uses memory protection keys, see pkeys(7).
func (m *Model) HasPkeys() bool {
	for _, s := range m.Spaces {
		var mm record.MM
		if s.Rec.Decode(&mm) == nil && mm.Pkeys != 0 || slices.ContainsFunc(s.VMAs, func(v record.VMA) bool { return v.Pkey != 0 }) {
			return true
		}
	}
	return false
}
