/* MADV_HUGEPAGE and MADV_NOHUGEPAGE on parts of a mapping. */
#include "proc.h"

#define MB (1 << 20)

static const char *advised(char *p) { return has_flag(p, "hg") ? "hg" : has_flag(p, "nh") ? "nh" : "-"; }

int main(void)
{
	char *p = anon(32 * MB);

	p = (char *)(((uintptr_t)p + 4 * MB - 1) & -(4ul * MB));
	must(madvise(p, 4 * MB, MADV_HUGEPAGE) == 0 && madvise(p + 8 * MB, 4 * MB, MADV_NOHUGEPAGE) == 0);
	must(SAME(advised(p), "hg") && SAME(advised(p + 8 * MB), "nh"));
	for (int i = 0; i < 16; i += 2)
		p[i * MB] = 'A' + i;
	save_me();
	for (int i = 0; i < 16; i++) {
		const char *want = i < 4 ? "hg" : i >= 8 && i < 12 ? "nh" : "-";
		check(SAME(advised(p + i * MB), want), "MiB %d has %s", i, advised(p + i * MB));
		check(p[i * MB] == (i % 2 ? 0 : 'A' + i), "MiB %d", i);
	}
	return finish();
}
