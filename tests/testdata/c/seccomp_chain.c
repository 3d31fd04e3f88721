/* Two seccomp filters on top of each other, the second one logging, inherited by
 * a child that has a third. */
#include "filter.h"
#include "kids.h"
#include "proc.h"

static void child(int arg)
{
	must(deny(SYS_getuid, 79, 0) == 0);
	wait_restored();
	check(error_of(SYS_getppid) == 77, "%d", error_of(SYS_getppid));
	check(error_of(SYS_getpgrp) == 78, "%d", error_of(SYS_getpgrp));
	check(error_of(SYS_getuid) == 79, "%d", error_of(SYS_getuid));
	check(SAME(status("Seccomp_filters"), "3"), "%s", status("Seccomp_filters"));
}

int main(void)
{
	must(deny(SYS_getppid, 77, 0) == 0);
	must(deny(SYS_getpgrp, 78, SECCOMP_FILTER_FLAG_LOG) == 0);
	start_kid(child, 0);
	save_me();
	check(error_of(SYS_getppid) == 77, "%d", error_of(SYS_getppid));
	check(error_of(SYS_getpgrp) == 78, "%d", error_of(SYS_getpgrp));
	check(error_of(SYS_getuid) == 0, "%d", error_of(SYS_getuid));
	check(SAME(status("Seccomp_filters"), "2"), "%s", status("Seccomp_filters"));
	finish_kids();
	return finish();
}
