/* The login user id of the parent, and another one of a child. */
#include "kids.h"
#include "proc.h"

static void child(int arg)
{
	must(spit("/proc/self/loginuid", "4321") == 0);
	wait_restored();
	check(SAME(slurp("/proc/self/loginuid"), "4321"), "%s", slurp("/proc/self/loginuid"));
}

int main(void)
{
	start_kid(child, 0);
	char *before = slurp("/proc/self/loginuid");
	must(*before);
	save_me();
	check(SAME(slurp("/proc/self/loginuid"), before), "%s", slurp("/proc/self/loginuid"));
	finish_kids();
	return finish();
}
