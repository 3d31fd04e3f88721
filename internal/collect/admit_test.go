package collect

import (
	"context"
	"strings"
	"testing"
)

// TestKernelThread is here because the tests of pipelines see only processes of their own.
func TestKernelThread(t *testing.T) {
	err := Run(context.Background(), Options{PID: 2, DryRun: true}, nil)
	if err == nil || !strings.Contains(err.Error(), "pid 2 (kthreadd) is a thread of the kernel") {
		t.Error(err)
	}
}
