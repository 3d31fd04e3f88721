package collect

import (
	"context"
	"strings"
	"testing"
)

// TestKernelThread stands here, for the pipelines' tests see only processes of
// their own.
func TestKernelThread(t *testing.T) {
	err := Run(context.Background(), Options{PID: 2, DryRun: true}, nil)
	if err == nil || !strings.Contains(err.Error(), "pid 2 (kthreadd) is a thread of the kernel") {
		t.Error(err)
	}
}
