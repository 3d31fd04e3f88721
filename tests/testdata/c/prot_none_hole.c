/* A mapping with a part that was made inaccessible, behind which its content
 * waits, and a part that was unmapped. */
#include "proc.h"

int main(void)
{
	/* Between two inaccessible pages, so that it has no neighbour with which the kernel
	 * could make it one mapping. */
	char *all = anon(14 * PAGE), *p = all + PAGE;
	unsigned char vec;

	memset(all, 'x', 14 * PAGE);
	must(mprotect(all, PAGE, PROT_NONE) == 0 && mprotect(all + 13 * PAGE, PAGE, PROT_NONE) == 0);
	for (int i = 0; i < 12; i++)
		memset(p + i * PAGE, 'a' + i, PAGE);
	must(mprotect(p + 2 * PAGE, 4 * PAGE, PROT_NONE) == 0 && munmap(p + 8 * PAGE, 2 * PAGE) == 0);
	save_me();
	for (int i = 0; i < 12; i++) {
		check(faults(p + i * PAGE) == ((i >= 2 && i < 6) || i == 8 || i == 9), "page %d", i);
		int there = mincore(p + i * PAGE, PAGE, &vec) == 0;
		check(there == (i != 8 && i != 9), "page %d", i);
	}
	check(mprotect(p + 2 * PAGE, 4 * PAGE, PROT_READ | PROT_WRITE) == 0);
	for (int i = 0; i < 12; i++)
		if (i != 8 && i != 9)
			check(p[i * PAGE] == 'a' + i && p[i * PAGE + PAGE - 1] == 'a' + i, "page %d is %d", i, p[i * PAGE]);
	return finish();
}
