/* MADV_DONTDUMP on a part of a mapping, which is saved all the same. */
#include "proc.h"

int main(void)
{
	char *p = anon(6 * PAGE), *shared = map(2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);

	for (int i = 0; i < 6; i++)
		memset(p + i * PAGE, 'd' + i, PAGE);
	shared[PAGE] = 's';
	must(madvise(p + 2 * PAGE, 2 * PAGE, MADV_DONTDUMP) == 0 && has_flag(p + 2 * PAGE, "dd"));
	must(madvise(shared, 2 * PAGE, MADV_DONTDUMP) == 0 && has_flag(shared, "dd"));
	save_me();
	check(!has_flag(p + PAGE, "dd") && has_flag(p + 2 * PAGE, "dd") && has_flag(p + 3 * PAGE, "dd") && !has_flag(p + 4 * PAGE, "dd"));
	check(has_flag(shared, "dd") && shared[PAGE] == 's' && shared[0] == 0);
	for (int i = 0; i < 6 * PAGE; i++)
		if (p[i] != 'd' + i / PAGE) {
			check(0, "byte %d is %d", i, p[i]);
			break;
		}
	return finish();
}
