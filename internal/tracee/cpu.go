package tracee

import (
	"slices"
	"strings"
	"sync"

	"ckpt/internal/proc"
)

// OwnCPU is this CPU, with the flags in /proc/cpuinfo, sorted, of what programs can use.
var OwnCPU = sync.OnceValues(func() (proc.CPU, error) {
	cpu, err := proc.ReadCPU()
	cpu.Flags = slices.DeleteFunc(cpu.Flags, func(flag string) bool { return !slices.Contains(userFeatures, flag) })
	slices.Sort(cpu.Flags)
	cpu.Flags = slices.Compact(cpu.Flags)
	return cpu, err
})

// userFeatures are the features by which programs have other instructions, or registers.
var userFeatures = strings.Fields(`
	fpu tsc cx8 cmov fxsr mmx mmxext 3dnow 3dnowext 3dnowprefetch syscall lm lahf_lm cx16 nopl
	sse sse2 pni ssse3 sse4_1 sse4_2 sse4a misalignsse fma fma4 xop tbm lwp avx avx2 f16c
	bmi1 bmi2 abm popcnt movbe adx aes vaes pclmulqdq vpclmulqdq gfni sha_ni sha512 sm3 sm4 rdrand rdseed
	avx512f avx512dq avx512ifma avx512pf avx512er avx512cd avx512bw avx512vl avx512vbmi avx512_vbmi2 avx512_vnni
	avx512_bitalg avx512_vpopcntdq avx512_4vnniw avx512_4fmaps avx512_vp2intersect avx512_bf16 avx512_fp16
	avx_vnni avx_vnni_int8 avx_vnni_int16 avx_ifma avx_ne_convert avx10_1 avx10_2 cmpccxadd raoint apx
	amx_tile amx_int8 amx_bf16 amx_fp16 amx_complex
	xsave xsavec xgetbv1 fsgsbase rdtscp rdpid rdpru rtm hle tsxldtrk serialize waitpkg monitorx mwaitx
	clflush clflushopt clwb clzero cldemote prefetchi prefetchwt1 movdiri movdir64b enqcmd user_shstk mpx ospke`)
