package tracee

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// Numbers of xsave components, see enum xfeature in the kernel's asm/fpu/types.h.
const (
	componentBounds, componentBoundsConfig             = 3, 4
	componentMasks, componentZMMHigh, componentHighZMM = 5, 6, 7
	componentRights                                    = 9 // PKRU, of protection keys
	componentShadowStack                               = 11
	componentTileConfig                                = 17
	componentAPX                                       = 19
)

// componentNames are the features, as in /proc/cpuinfo, whose registers the components are.
var componentNames = map[int]string{0: "fpu", 1: "sse", 2: "avx", componentBounds: "mpx", componentBoundsConfig: "mpx",
	componentMasks: "avx512f", componentZMMHigh: "avx512f", componentHighZMM: "avx512f", componentRights: "ospke",
	componentShadowStack: "user_shstk", componentTileConfig: "amx_tile", tileData: "amx_tile", componentAPX: "apx"}

// ComponentNames names a set of xsave components by those features.
func ComponentNames(set uint64) (names []string) {
	for i := range 64 {
		if set>>i&1 == 0 {
			continue
		}
		name := componentNames[i]
		if name == "" {
			name = fmt.Sprintf("xsave component %d", i)
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

const (
	// RightsComponent is the xsave component of protection keys. The kernel gives it a value
	// in each thread, which matters only where there are keys.
	RightsComponent uint64 = 1 << componentRights
	// FixedComponents are at the same place in the xsave areas of all CPUs.
	FixedComponents uint64 = 1<<0 | 1<<1 | 1<<2
)

// FitXState brings an xsave area to the size that it has here, and leaves out what is in other
// components than these. The bytes cut off or added belong to components that are not in use.
func FitXState(xstate []byte, size int, components uint64) []byte {
	if len(xstate) == 0 {
		return nil
	}
	fitted := make([]byte, size)
	copy(fitted, xstate)
	if len(fitted) >= xstateHeader+8 {
		header := fitted[xstateHeader:]
		binary.LittleEndian.PutUint64(header, binary.LittleEndian.Uint64(header)&components)
	}
	return fitted
}
