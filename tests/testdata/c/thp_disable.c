/* PR_SET_THP_DISABLE in one child, with the exception for advised mappings where
 * the kernel has it in another, and not in the parent. */
#include "kids.h"
#include "proc.h"
#include <sys/prctl.h>

#define EXCEPT_ADVISED 2

static void child(int flags)
{
	must(prctl(PR_SET_THP_DISABLE, 1, flags, 0, 0) == 0);
	char *advised = anon(8 << 20);
	must(madvise(advised, 8 << 20, MADV_HUGEPAGE) == 0);
	char *eligible = smaps(advised, "THPeligible:");
	wait_restored();
	check(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == (1 | flags), "%d", prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
	check(SAME(eligible, smaps(advised, "THPeligible:")), "%s, now %s", eligible, smaps(advised, "THPeligible:"));
}

int main(void)
{
	start_kid(child, 0);
	if (prctl(PR_SET_THP_DISABLE, 1, EXCEPT_ADVISED, 0, 0) == 0)
		start_kid(child, EXCEPT_ADVISED);
	must(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0) == 0);
	save_me();
	check(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 0);
	finish_kids();
	return finish();
}
