package proc

import "testing"

const netlinkText = `sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode
000000009bdbc1f4 0   31507      00000000 1280     0        0     2        0        4711
00000000b34c7c03 4   0          00000000 0        0        1     2        0        1505
`

func TestParseNetlink(t *testing.T) {
	for ino, want := range map[string]Netlink{"4711": {Waiting: 1280}, "1505": {Dumping: true}} {
		if got, there := parseNetlink(netlinkText, ino); !there || got != want {
			t.Errorf("%s: %+v %v", ino, got, there)
		}
	}
	if _, there := parseNetlink(netlinkText, "5"); there {
		t.Error("a socket that is not listed is there")
	}
}

func FuzzParseNetlink(f *testing.F) {
	f.Add(netlinkText, "4711")
	f.Fuzz(func(_ *testing.T, text, ino string) { parseNetlink(text, ino) })
}
