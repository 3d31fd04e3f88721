package cli

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"

	"ckpt/internal/testkit"
)

// TestCollectLess: garbage may grow to four times of what is in use, but not of much.
func TestCollectLess(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	t.Setenv("GOGC", "")
	percent := func() uint64 {
		now := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(now)
		return now[0].Value.Uint64()
	}
	collectLess()
	for range 3 {
		runtime.GC()
	}
	if now := percent(); now != 400 {
		t.Errorf("little is in use, and GOGC is %d", now)
	}
	much := make([]byte, 2*littleMemory)
	testkit.Soon(t, "GOGC is 100", func() bool {
		runtime.GC()
		return percent() == 100
	})
	runtime.KeepAlive(much)
}
