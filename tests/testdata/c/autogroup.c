/* The nice value of a session's scheduling group, and of a child's own session. */
#include "kids.h"
#include "proc.h"

static int group_nice(void)
{
	int nice = 99;
	char *at = strstr(slurp("/proc/self/autogroup"), " nice ");

	if (at)
		sscanf(at, " nice %d", &nice);
	return nice;
}

static void child(int arg)
{
	must(setsid() == getpid() && spit("/proc/self/autogroup", "-3") == 0);
	wait_restored();
	check(group_nice() == -3, "%d", group_nice());
}

int main(void)
{
	must(spit("/proc/self/autogroup", "7") == 0 && group_nice() == 7);
	start_kid(child, 0);
	save_me();
	check(group_nice() == 7, "%d", group_nice());
	finish_kids();
	return finish();
}
