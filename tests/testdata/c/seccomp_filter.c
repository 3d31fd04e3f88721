/* A seccomp filter stays in force, without no_new_privs. */
#include "filter.h"
#include "proc.h"
#include <sys/prctl.h>

int main(void)
{
	must(error_of(SYS_getppid) == 0);
	must(deny(SYS_getppid, 77, 0) == 0);
	must(error_of(SYS_getppid) == 77);
	save_me();
	check(error_of(SYS_getppid) == 77, "%d", error_of(SYS_getppid));
	check(error_of(SYS_getpid) == 0);
	check(SAME(status("Seccomp"), "2"), "%s", status("Seccomp"));
	check(SAME(status("Seccomp_filters"), "1"), "%s", status("Seccomp_filters"));
	check(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0);
	return finish();
}
