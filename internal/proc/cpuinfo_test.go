package proc

import (
	"slices"
	"testing"
)

func TestParseCPU(t *testing.T) {
	const two = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: x: y\nflags\t\t: fpu sse sse2\nbugs\t\t:\n\nprocessor\t: 1\nvendor_id\t: other\nflags\t\t: avx\n"
	c, err := ParseCPU([]byte(two))
	if err != nil || c.Vendor != "GenuineIntel" || !slices.Equal(c.Flags, []string{"fpu", "sse", "sse2"}) {
		t.Errorf("%+v, %v", c, err)
	}
	for _, bad := range []string{"", "\n", "processor\t: 0\n", "vendor_id\t: x\n\nflags\t: y\n"} {
		if c, err := ParseCPU([]byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, c)
		}
	}
	if c, err := ReadCPU(); err != nil || c.Vendor == "" || !slices.Contains(c.Flags, "sse2") {
		t.Errorf("here: %+v, %v", c, err)
	}
}
