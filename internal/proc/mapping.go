package proc

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Mapping is one mapping of an address space: a line of /proc/PID/maps, and
// when it was read from smaps, its attributes (proc_pid_smaps(5),
// fs/proc/task_mmu.c). Sizes are bytes.
type Mapping struct {
	Start, End uint64
	Prot       int  // PROT_READ, PROT_WRITE, PROT_EXEC
	Shared     bool // MAP_SHARED, also if the file was opened without write access
	Offset     uint64
	Dev        uint64 // makedev(3) of the file system
	Inode      uint64
	Path       string // a file, a name in brackets, or empty: anonymous

	// The following are from smaps only.
	VmFlags        VmFlags
	ProtectionKey  int
	KernelPageSize uint64 // above 4096 for hugetlb
	RSS            uint64
	Anonymous      uint64
	AnonHuge       uint64
	Swap           uint64
	Locked         uint64
}

// Link is the link in /proc to what a mapping of a process maps. Following it takes
// CAP_CHECKPOINT_RESTORE in the initial user namespace.
func (m *Mapping) Link(pid int) string {
	return Path(pid, fmt.Sprintf("map_files/%x-%x", m.Start, m.End))
}

// Len is the size of the mapping in bytes.
func (m *Mapping) Len() uint64 { return m.End - m.Start }

// Name is the kernel's name of a mapping without a file, with its brackets:
// [heap], [stack], [vdso], [vvar], [vvar_vclock], [vsyscall], [anon:foo],
// [anon_shmem:foo]. Empty for files and for plain anonymous memory.
func (m *Mapping) Name() string {
	if strings.HasPrefix(m.Path, "[") && strings.HasSuffix(m.Path, "]") {
		return m.Path
	}
	return ""
}

// AnonName is the name given with prctl(PR_SET_VMA_ANON_NAME), if one was; it
// may be empty. The name hides the path of shared anonymous memory.
func (m *Mapping) AnonName() (string, bool) {
	name, ok := strings.CutSuffix(m.Path, "]")
	if !ok {
		return "", false
	}
	if anon, ok := strings.CutPrefix(name, "[anon:"); ok {
		return anon, true
	}
	return strings.CutPrefix(name, "[anon_shmem:")
}

// VmFlags are the two letter flags of smaps, in the kernel's order, separated
// by one space: "rd wr mr mw me ac". See proc_pid_smaps(5), show_smap_vma_flags.
type VmFlags string

// Has reports whether a flag such as "gd" is set.
func (v VmFlags) Has(flag string) bool {
	if len(flag) != 2 {
		return slices.Contains(v.List(), flag)
	}
	for i := 0; i+2 <= len(v); i += 3 {
		if string(v[i:i+2]) == flag {
			return true
		}
	}
	return false
}

// List returns the flags one by one. "??" stands for a bit the kernel has no
// letters for.
func (v VmFlags) List() []string { return strings.Fields(string(v)) }

// ReadMappings reads all mappings with their attributes, from smaps, for which the
// kernel walks all page tables.
func ReadMappings(pid int) ([]Mapping, error) { return readMappings(pid, Path(pid, "smaps")) }

// ReadMaps reads all mappings without the attributes only smaps has.
func ReadMaps(pid int) ([]Mapping, error) { return here.ReadMaps(pid) }

// ReadMaps is the function of that name.
func (v View) ReadMaps(pid int) ([]Mapping, error) { return readMappings(pid, v.Path(pid, "maps")) }

func readMappings(pid int, path string) ([]Mapping, error) {
	fd, err := openFD(path)
	if err != nil {
		return nil, ofPid(pid, err)
	}
	defer unix.Close(fd)
	all, err := ParseMappings(fdReader(fd))
	if err != nil {
		return nil, ofPid(pid, fmt.Errorf("parse %s: %w", path, err))
	}
	return all, nil
}

// fdReader reads from a descriptor.
type fdReader int

func (fd fdReader) Read(b []byte) (int, error) {
	n, err := again(func() (int, error) { return unix.Read(int(fd), b) })
	switch {
	case err != nil:
		return 0, os.NewSyscallError("read", err)
	case n == 0 && len(b) > 0:
		return 0, io.EOF
	}
	return n, nil
}
