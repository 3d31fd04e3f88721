package judge

import (
	"strings"
	"testing"
)

// TestMoreRegisters: only where XSAVE is used, and only for what is new.
func TestMoreRegisters(t *testing.T) {
	for _, c := range []struct{ was, here, says string }{
		{"sse xsave", "sse xsave avx avx512f", "(avx, avx512f)"},
		{"avx xsave", "avx avx512f xsave xsavec", "(avx512f)"},
		{"avx xsave", "avx xsave amx_tile ospke", ""},
		{"avx xsave xsavec", "avx avx512f xsave xsavec", ""},
		{"sse", "sse avx avx512f", ""},
		{"", "sse avx avx512f", ""},
	} {
		err := moreRegisters(strings.Fields(c.was), strings.Fields(c.here))
		if (err != nil) != (c.says != "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s here, %s there: %v", c.here, c.was, err)
		}
	}
}
