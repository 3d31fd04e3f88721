/* Processes that have all memory to come locked (mlockall with MCL_FUTURE), at
 * once or on fault, and one that has not. */
#include "kids.h"
#include "proc.h"

static const int flags[] = {MCL_FUTURE, MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT, MCL_CURRENT};

static void checks_of(int i)
{
	char *p = anon(2 * PAGE);

	check(has_flag(p, "lo") == (i < 2), "%d: %s", i, smaps(p, "VmFlags:"));
	check(has_flag(p, "lf") == (i == 1), "%d: %s", i, smaps(p, "VmFlags:"));
}

static void child(int i)
{
	must(mlockall(flags[i]) == 0);
	wait_restored();
	checks_of(i);
}

int main(void)
{
	start_kid(child, 1);
	start_kid(child, 2);
	must(mlockall(flags[0]) == 0);
	save_me();
	checks_of(0);
	finish_kids();
	return finish();
}
