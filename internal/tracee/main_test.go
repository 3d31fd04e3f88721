//go:build amd64

package tracee_test

import (
	"testing"

	"ckpt/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }
