/* Locked memory: all of a mapping, on fault, and a part of one. */
#include "proc.h"
#include <sys/resource.h>

static int resident(char *p)
{
	unsigned char vec = 0;

	return mincore(p, PAGE, &vec) == 0 && vec & 1;
}

int main(void)
{
	char *all = anon(8 * PAGE), *onfault = anon(8 * PAGE), *part = anon(8 * PAGE);

	must(madvise(onfault, 8 * PAGE, MADV_NOHUGEPAGE) == 0);
	all[0] = 'a';
	part[3 * PAGE] = 'p';
	must(mlock(all, 8 * PAGE) == 0 && mlock2(onfault, 8 * PAGE, MLOCK_ONFAULT) == 0 && mlock(part + 2 * PAGE, 2 * PAGE) == 0);
	onfault[5 * PAGE] = 'f';
	char *locked = status("VmLck");
	must(has_flag(all, "lo") && has_flag(onfault, "lf") && resident(all + 7 * PAGE) && !resident(onfault + PAGE));
	save_me();
	check(has_flag(all, "lo") && !has_flag(all, "lf"), "%s", smaps(all, "VmFlags:"));
	check(has_flag(onfault, "lo") && has_flag(onfault, "lf"), "%s", smaps(onfault, "VmFlags:"));
	check(!has_flag(part + PAGE, "lo") && has_flag(part + 2 * PAGE, "lo") && has_flag(part + 3 * PAGE, "lo") && !has_flag(part + 4 * PAGE, "lo"));
	check(SAME(status("VmLck"), locked), "%s, now %s", locked, status("VmLck"));
	for (int i = 0; i < 8; i++)
		check(resident(all + i * PAGE) && resident(onfault + i * PAGE) == (i == 5), "page %d", i);
	check(all[0] == 'a' && onfault[5 * PAGE] == 'f' && part[3 * PAGE] == 'p' && onfault[0] == 0);
	return finish();
}
