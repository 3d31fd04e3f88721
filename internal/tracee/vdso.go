package tracee

import (
	"os"

	"ckpt/internal/proc"
)

// VDSO returns the code that this kernel maps into every process, see vdso(7); nil if there
// is none.
func VDSO() ([]byte, error) {
	maps, err := proc.ReadMaps(os.Getpid())
	if err != nil {
		return nil, err
	}
	for _, m := range maps {
		if m.Name() != "[vdso]" {
			continue
		}
		mem, err := os.Open("/proc/self/mem")
		if err != nil {
			return nil, err
		}
		defer mem.Close()
		text := make([]byte, m.Len())
		_, err = mem.ReadAt(text, int64(m.Start))
		return text, err
	}
	return nil, nil
}
