package move

import (
	"os"
	"testing"

	"ckpt/internal/testkit"
)

func TestMain(m *testing.M) { os.Exit(testkit.WithOwnFolder(rootDir, m.Run)) }
