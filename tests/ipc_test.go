package tests

import (
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestIPCNamespaces saves programs that are the init of a pid namespace and have an IPC
// namespace of their own, the programs ipc_* of testdata/c. This host's is as before.
func TestIPCNamespaces(t *testing.T) {
	files, err := filepath.Glob("testdata/c/ipc_*.c")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v: no programs", err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".c")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			(&feature{t: t, args: []string{buildC(t, "c/"+name+".c")}, apart: unix.CLONE_NEWPID | unix.CLONE_NEWIPC}).runApart()
		})
	}
	for _, name := range []string{"sysv_shm", "sysv_shm_part", "sysv_shm_inner", "sysv_shm_huge", "sysv_sem_undo", "sem_undo_none", "mqueue", "clone_shared"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			(&feature{t: t, args: []string{buildC(t, "c/"+name+".c")}, apart: unix.CLONE_NEWPID | unix.CLONE_NEWIPC}).runApart()
		})
	}
	t.Run("cgroup_namespace", func(t *testing.T) {
		t.Parallel()
		(&feature{t: t, args: []string{buildC(t, "c/cgroup_namespace.c")}, apart: unix.CLONE_NEWPID}).runApart()
	})
}
