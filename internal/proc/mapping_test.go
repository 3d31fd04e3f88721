package proc

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseMappings(t *testing.T) {
	all, err := ParseMappings(bytes.NewReader(fixture(t, "smaps")))
	if err != nil {
		t.Fatal(err)
	}
	bare, err := ParseMappings(bytes.NewReader(fixture(t, "maps")))
	if err != nil {
		t.Fatal(err)
	}
	wantPaths := []string{"[heap]", "[anon_shmem:shared]", "[anon:my heap: 1]", "",
		"/srv/data/gone (deleted)", "/srv/data/new\nline ", "[vvar]", "[vvar_vclock]", "[vdso]",
		"[stack]", "[vsyscall]"}
	if len(all) != len(wantPaths) || len(bare) != len(wantPaths) {
		t.Fatalf("%d and %d mappings, want %d", len(all), len(bare), len(wantPaths))
	}
	for i, m := range all {
		equal(t, "path", m.Path, wantPaths[i])
		name := ""
		if strings.HasPrefix(m.Path, "[") {
			name = m.Path
		}
		equal(t, "name", m.Name(), name)
		if m.VmFlags == "" || m.KernelPageSize != 4096 && m.Name() != "[vsyscall]" {
			t.Errorf("%s: no attributes: %+v", m.Path, m)
		}
		m.VmFlags, m.KernelPageSize, m.RSS, m.Anonymous, m.AnonHuge, m.Locked = "", 0, 0, 0, 0, 0
		equal(t, "bare mapping", m, bare[i])
	}
	gone := bare[4]
	equal(t, "deleted file", gone, Mapping{
		Start: 0x7ff578a04000, End: 0x7ff578a06000, Prot: unix.PROT_READ | unix.PROT_WRITE,
		Shared: true, Offset: 0x1000, Dev: unix.Mkdev(0xfe, 0), Inode: 9977918,
		Path: "/srv/data/gone (deleted)",
	})
	equal(t, "length", gone.Len(), uint64(0x2000))
	equal(t, "vsyscall", bare[10].Prot, unix.PROT_EXEC)
	if heap := all[0]; heap.RSS == 0 || heap.Anonymous == 0 {
		t.Errorf("heap has no pages: %+v", heap)
	}
}

func TestAnonName(t *testing.T) {
	for path, want := range map[string]string{"[anon:my heap: 1]": "my heap: 1", "[anon_shmem:]": "", "[anon:]": ""} {
		got, ok := (&Mapping{Path: path}).AnonName()
		if got != want || !ok {
			t.Errorf("%s: %q %v", path, got, ok)
		}
	}
	for _, path := range []string{"", "[heap]", "/a]", "[anon:x"} {
		if got, ok := (&Mapping{Path: path}).AnonName(); ok {
			t.Errorf("%s: %q", path, got)
		}
	}
}

func TestVmFlags(t *testing.T) {
	const text = "1000-2000 rw-p 00000000 00:00 0 \nVmFlags: rd wr mr mw me gd ac ?? \nProtectionKey:         7\n" +
		"Swap:                 12 kB\n"
	all, err := ParseMappings(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	v := all[0].VmFlags
	equal(t, "flags", v, VmFlags("rd wr mr mw me gd ac ??"))
	equal(t, "list", len(v.List()), 8)
	for _, f := range []string{"rd", "gd", "??"} {
		equal(t, f, v.Has(f), true)
	}
	for _, f := range []string{"", "d ", "sh", "rd wr", "g", "w "} {
		equal(t, f, v.Has(f), false)
	}
	equal(t, "key", all[0].ProtectionKey, 7)
	equal(t, "swap", all[0].Swap, uint64(12<<10))
}

func TestParseMappingsKeepsBytes(t *testing.T) {
	const head = "1000-2000 r-xs 00000000 103:ff123 18446744073709551615 "
	for _, path := range []string{"/a\r", "/ b  ", "/\xff\xfe", `/a\b\n`, "/x: y", "(unreachable)/x", "/a-b: "} {
		all, err := ParseMappings(strings.NewReader(head + "      " + path + "\n"))
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "path", all[0].Path, path)
		equal(t, "device", all[0].Dev, unix.Mkdev(0x103, 0xff123))
		equal(t, "inode", all[0].Inode, ^uint64(0))
	}
}

func TestParseMappingsRefuses(t *testing.T) {
	const good = "1000-2000 rw-p 00000000 00:00 0 \n"
	for _, bad := range []string{
		"Rss: 4 kB\n", good + good, good + "800-1001 rw-p 00000000 00:00 0 \n", "\n",
		"2000-2000 rw-p 00000000 00:00 0 \n", "2000-1000 rw-p 00000000 00:00 0 \n",
		"1000-2000 rwxq 00000000 00:00 0 \n", "1000-2000 wr-p 00000000 00:00 0 \n",
		"1000-2000 rw-p 00000000 00 0 \n", "1000-2000 rw-p 0 00:00\n",
		good + "Rss: 4\n", good + "Swap: 99999999999999999999 kB\n", good + "ProtectionKey: x\n",
	} {
		if _, err := ParseMappings(strings.NewReader(bad)); !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	long := strings.Repeat("x", maxLineBytes+1)
	if _, err := ParseMappings(strings.NewReader(long)); err == nil {
		t.Error("an endless line was read")
	}
}
