/* The secure bits and their locks, different in a child. */
#include "kids.h"
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>

enum { PARENT = SECBIT_NOROOT | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED,
	CHILD = SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED | SECBIT_NOROOT_LOCKED };

static void child(int arg)
{
	must(prctl(PR_SET_SECUREBITS, CHILD) == 0);
	wait_restored();
	check(prctl(PR_GET_SECUREBITS) == CHILD, "%#x", prctl(PR_GET_SECUREBITS));
	check(prctl(PR_SET_SECUREBITS, CHILD | SECBIT_NOROOT) == -1 && errno == EPERM, "it is not locked");
	check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0) == -1 && errno == EPERM);
}

int main(void)
{
	start_kid(child, 0);
	must(prctl(PR_SET_SECUREBITS, PARENT) == 0);
	save_me();
	finish_kids();
	check(prctl(PR_GET_SECUREBITS) == PARENT, "%#x", prctl(PR_GET_SECUREBITS));
	check(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_KEEP_CAPS_LOCKED) == -1 && errno == EPERM, "it is not locked");
	return finish();
}
