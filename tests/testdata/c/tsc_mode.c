/* PR_SET_TSC in a child: reading the time stamp counter traps, but not in the
 * parent. */
#include "kids.h"
#include "proc.h"
#include <sys/prctl.h>
#include <x86intrin.h>

static int traps(void)
{
	int result = 1;

	signal(SIGSEGV, on_fault);
	if (sigsetjmp(faulted, 1) == 0) {
		__rdtsc();
		result = 0;
	}
	signal(SIGSEGV, SIG_DFL);
	return result;
}

static void child(int arg)
{
	int mode = 0;

	must(prctl(PR_SET_TSC, PR_TSC_SIGSEGV) == 0 && traps());
	wait_restored();
	check(prctl(PR_GET_TSC, &mode) == 0 && mode == PR_TSC_SIGSEGV, "%d", mode);
	check(traps());
}

int main(void)
{
	int mode = 0;

	start_kid(child, 0);
	save_me();
	check(prctl(PR_GET_TSC, &mode) == 0 && mode == PR_TSC_ENABLE, "%d", mode);
	check(!traps());
	finish_kids();
	return finish();
}
