/* PR_SET_DUMPABLE 0, and a child for which it is 1. */
#include "kids.h"
#include <sys/prctl.h>

static void child(int want)
{
	must(prctl(PR_SET_DUMPABLE, want) == 0);
	wait_restored();
	check(prctl(PR_GET_DUMPABLE) == want, "%d", prctl(PR_GET_DUMPABLE));
}

int main(void)
{
	must(prctl(PR_SET_DUMPABLE, 0) == 0);
	start_kid(child, 0);
	start_kid(child, 1);
	save_me();
	check(prctl(PR_GET_DUMPABLE) == 0, "%d", prctl(PR_GET_DUMPABLE));
	finish_kids();
	return finish();
}
