/* MADV_MERGEABLE on a part of a mapping with equal pages. */
#include "proc.h"

int main(void)
{
	char *p = anon(64 * PAGE);

	memset(p, 'm', 64 * PAGE);
	must(madvise(p + 16 * PAGE, 32 * PAGE, MADV_MERGEABLE) == 0 && has_flag(p + 16 * PAGE, "mg"));
	save_me();
	check(!has_flag(p + 15 * PAGE, "mg") && has_flag(p + 16 * PAGE, "mg") && has_flag(p + 47 * PAGE, "mg") && !has_flag(p + 48 * PAGE, "mg"));
	p[20 * PAGE] = 'x';
	for (int i = 0; i < 64; i++)
		check(p[i * PAGE] == (i == 20 ? 'x' : 'm') && p[i * PAGE + PAGE - 1] == 'm', "page %d", i);
	check(madvise(p + 16 * PAGE, 32 * PAGE, MADV_UNMERGEABLE) == 0 && !has_flag(p + 16 * PAGE, "mg"));
	return finish();
}
