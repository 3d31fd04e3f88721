/* Threads that keep numbers in general and vector registers while they are saved
 * and do not leave a loop. */
#include "threads.h"

static void body(int i)
{
	uint64_t in = 0x1111111111111111ull * (i + 1), out_r, out_x;

	__sync_fetch_and_add(&ready, 1);
	__asm__ volatile("movq %2, %%r12\n\tmovq %2, %%xmm7\n"
		"1:\tpause\n\tcmpl $0, %3\n\tje 1b\n\t"
		"movq %%r12, %0\n\tmovq %%xmm7, %1"
		: "=&r"(out_r), "=&r"(out_x) : "r"(in), "m"(restored) : "r12", "xmm7", "cc");
	check(out_r == in && out_x == in, "thread %d: %#lx %#lx", i, out_r, out_x);
}

int main(void)
{
	for (int i = 0; i < 6; i++)
		start_thread(body, i);
	save_me();
	finish_threads();
	return finish();
}
