/* Registers keep their values while the program spins without a system call. */
#include "check.h"
#include <sys/mman.h>
#include <sys/syscall.h>
#include <x86intrin.h>
#include <fenv.h>

static __thread int tls = 4711;

struct rseq_area { uint32_t cpu_id_start, cpu_id; };
extern const ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));

int main(void)
{
	uint64_t out[8], vec[8] __attribute__((aligned(32)));
	int fd = open("spin", O_RDWR | O_CREAT, 0600);
	must(fd >= 0 && ftruncate(fd, 4096) == 0);
	volatile char *flag = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	must(flag != MAP_FAILED);
	void *head;
	size_t len, len2;
	must(syscall(SYS_get_robust_list, 0, &head, &len) == 0);
	void *robust = head;
	unsigned short cw = 0x0f7f, cw_now = 0;
	unsigned mxcsr = 0x7f80, mxcsr_now = 0;
	__asm__ volatile("fldcw %0; ldmxcsr %1" : : "m"(cw), "m"(mxcsr));
	tls = 815;
	printf("ready\n");
	fflush(stdout);
	__asm__ volatile(
		"mov $0x1111111111111111, %%rbx; mov $0x2222222222222222, %%r12; mov $0x3333333333333333, %%r13\n"
		"mov $0x4444444444444444, %%r14; mov $0x5555555555555555, %%r8; mov $0x6666666666666666, %%rdi\n"
		"movq %%rbx, %%xmm0; vpbroadcastq %%xmm0, %%ymm5; movq %%r12, %%xmm15\n"
		"stc\n"
		"1: pause; cmpb $0, (%[flag]); mov %%r8, %%r8; je 1b\n"
		"mov %%rbx, 0(%[out]); mov %%r12, 8(%[out]); mov %%r13, 16(%[out]); mov %%r14, 24(%[out])\n"
		"mov %%r8, 32(%[out]); mov %%rdi, 40(%[out]); movq %%xmm15, 48(%[out]); vmovdqu %%ymm5, (%[vec])\n"
		"fnstcw %[cw]; stmxcsr %[mx]\n"
		: [cw] "=m"(cw_now), [mx] "=m"(mxcsr_now)
		: [flag] "r"(flag), [out] "r"(out), [vec] "r"(vec)
		: "rbx", "r12", "r13", "r14", "r8", "rdi", "xmm0", "xmm5", "xmm15", "memory", "cc");
	for (int i = 0; i < 6; i++)
		check(out[i] == 0x1111111111111111ull * (i + 1), "register %d is %lx", i, (long)out[i]);
	check(out[6] == 0x2222222222222222ull);
	for (int i = 0; i < 4; i++)
		check(vec[i] == 0x1111111111111111ull, "part %d of ymm5 is %lx", i, (long)vec[i]);
	check(cw_now == cw, "%x", cw_now);
	check((mxcsr_now & ~0x3f) == mxcsr, "%x", mxcsr_now);
	check(tls == 815);
	check(syscall(SYS_get_robust_list, 0, &head, &len2) == 0 && head == robust && len2 == len);
	check(syscall(SYS_set_tid_address, NULL) == getpid());
	if (&__rseq_size && __rseq_size) {
		struct rseq_area *r = (void *)((char *)__builtin_thread_pointer() + __rseq_offset);
		syscall(SYS_sched_yield);
		check(r->cpu_id < 4096, "rseq says cpu %u", r->cpu_id);
		check(syscall(SYS_rseq, r, 32, 0, 0x53053053) == -1 && (errno == EBUSY || errno == EINVAL), "rseq is not registered");
	}
	return finish();
}
