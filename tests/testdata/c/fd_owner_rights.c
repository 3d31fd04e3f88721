/* A child of user nobody gave the signals of a pipe to a child of root's, which it may not signal: after the restore it may not either */
#include "kids.h"
#include <grp.h>

#ifndef F_GETOWNER_UIDS
#define F_GETOWNER_UIDS 17
#endif

static int end[2];
static pid_t roots;

static void root_child(int arg)
{
	wait_restored();
	check(arg == 0); /* alive: SIGIO would have ended it */
}

static void nobody_child(int arg)
{
	must(setgroups(0, NULL) == 0 && setresgid(65534, 65534, 65534) == 0 && setresuid(65533, 65534, 65534) == 0);
	must(fcntl(end[0], F_SETOWN, roots) == 0 && fcntl(end[0], F_SETFL, O_ASYNC) == 0);
	wait_restored();
	check(arg == 0);
}

int main(void)
{
	uid_t uids[2] = {1, 1};

	must(pipe(end) == 0);
	roots = start_kid(root_child, 0);
	start_kid(nobody_child, 0);
	must(fcntl(end[0], F_GETOWNER_UIDS, uids) == 0 && uids[0] == 65533 && uids[1] == 65534);
	save_me();
	check(fcntl(end[0], F_GETOWN) == roots && fcntl(end[0], F_GETFL) == O_ASYNC);
	check(fcntl(end[0], F_GETOWNER_UIDS, uids) == 0 && uids[0] == 65533 && uids[1] == 65534, "%d %d", uids[0], uids[1]);
	check(write(end[1], "x", 1) == 1);
	finish_kids();
	return finish();
}
