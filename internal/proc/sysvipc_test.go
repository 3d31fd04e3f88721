package proc

import (
	"maps"
	"testing"
)

func TestParseSysVIPC(t *testing.T) {
	text := "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      ctime                   rss                  swap\n" +
		"-1263266089     262165  1644  18446744073709551615  7770     0      2     1     2     3     4          0          0 1796076354                     0                  4096\n"
	all, err := parseSysVIPC("shm", []byte(text))
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
	want := SysVIPC{Key: -1263266089, ID: 262165, Mode: 0o1644, UID: 1, GID: 2, CUID: 3, CGID: 4,
		Counts: map[string]uint64{"size": 1<<64 - 1, "cpid": 7770, "lpid": 0, "nattch": 2, "atime": 0, "dtime": 0, "ctime": 1796076354, "rss": 0, "swap": 4096}}
	if got := all[0]; !maps.Equal(got.Counts, want.Counts) {
		t.Errorf("%v", got.Counts)
	} else if got.Counts, want.Counts = nil, nil; got.Key != want.Key || got.ID != want.ID || got.Mode != want.Mode || got.UID != 1 || got.GID != 2 || got.CUID != 3 || got.CGID != 4 {
		t.Errorf("%+v", got)
	}
	for _, bad := range []string{"key shmid\n1\n", "key shmid\n1 x\n", "perms\n9\n"} {
		if all, err := parseSysVIPC("shm", []byte(bad)); err == nil {
			t.Errorf("%q is %v", bad, all)
		}
	}
	if all, err := parseSysVIPC("msg", []byte("key msqid\n")); err != nil || len(all) != 0 {
		t.Error(all, err)
	}
}
