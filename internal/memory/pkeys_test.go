package memory

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ckpt/stream/record"
)

func TestCheckPkeys(t *testing.T) {
	for says, vmas := range map[string][]record.VMA{
		"":                               {{Pkey: 3, Prot: unix.PROT_EXEC, ExecOnly: true}, {Pkey: 4, Prot: unix.PROT_READ}, {Pkey: 3, Prot: unix.PROT_EXEC, ExecOnly: true}},
		"protection key 16":              {{Pkey: 16}},
		"protection key -1":              {{Pkey: -1}},
		"protection key 0 of the kernel": {{Prot: unix.PROT_EXEC, ExecOnly: true}},
		"protection key 2 of the kernel, with protection 0x5": {{Pkey: 2, Prot: unix.PROT_EXEC | unix.PROT_READ, ExecOnly: true}},
		"protection key 4 of the kernel":                      {{Pkey: 3, Prot: unix.PROT_EXEC, ExecOnly: true}, {Pkey: 4, Prot: unix.PROT_EXEC, ExecOnly: true}},
		"protection key 1":                                    {{Pkey: 1, Kind: record.VMAVDSO}},
	} {
		for i := range vmas {
			v := &vmas[i]
			v.Start, v.End = uint64(2*i+1)*pageBytes, uint64(2*i+2)*pageBytes
			if v.Kind == "" {
				v.Kind = record.VMAAnon
			}
		}
		errs := Check(vmas)
		if says == "" && len(errs) != 0 || says != "" && (len(errs) != 1 || !strings.Contains(errs[0].Error(), says)) {
			t.Errorf("want %q: %v", says, errs)
		}
	}
}
