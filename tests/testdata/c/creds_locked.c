/* Another user's ids, with SECBIT_KEEP_CAPS set and locked. */
#include "check.h"
#include <grp.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/stat.h>

enum { BITS = SECBIT_KEEP_CAPS | SECBIT_KEEP_CAPS_LOCKED };

int main(void)
{
	must(chmod(".", 0777) == 0 && prctl(PR_SET_SECUREBITS, BITS) == 0);
	must(setgroups(0, NULL) == 0 && setresgid(1001, 1001, 1001) == 0 && setresuid(2001, 2001, 2001) == 0);
	save_me();
	check(prctl(PR_GET_SECUREBITS) == BITS, "%#x", prctl(PR_GET_SECUREBITS));
	check(prctl(PR_SET_KEEPCAPS, 0) == -1 && errno == EPERM, "it is not locked");
	check(getuid() == 2001 && geteuid() == 2001 && getgid() == 1001);
	return finish();
}
