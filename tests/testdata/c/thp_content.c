/* Eight MiB of transparent huge pages. */
#include "proc.h"

#define SIZE (8ul << 20)

int main(void)
{
	uint64_t *p = (uint64_t *)(((uintptr_t)anon(2 * SIZE) + SIZE - 1) & -SIZE);
	unsigned long bad = 0;

	must(madvise(p, SIZE, MADV_HUGEPAGE) == 0);
	for (unsigned long i = 0; i < SIZE / 8; i++)
		p[i] = i / 512 % 5 == 4 ? 0 : i * 0x9e3779b97f4a7c15;
	must(atol(smaps(p, "AnonHugePages:")) > 0);
	save_me();
	check(has_flag(p, "hg"));
	for (unsigned long i = 0; i < SIZE / 8; i++)
		bad += p[i] != (i / 512 % 5 == 4 ? 0 : i * 0x9e3779b97f4a7c15);
	check(bad == 0, "%lu of %lu words differ", bad, SIZE / 8);
	p[SIZE / 16] = 1;
	check(madvise(p, SIZE / 2, MADV_DONTNEED) == 0 && p[0] == 0 && p[SIZE / 16] == 1);
	return finish();
}
