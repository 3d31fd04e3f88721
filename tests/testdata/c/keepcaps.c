/* PR_SET_KEEPCAPS, in a child and not in another: whether capabilities survive a
 * change of user id after the restore. */
#include "kids.h"
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

static void child(int keep)
{
	struct __user_cap_header_struct hdr = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct before[2], after[2];

	must(prctl(PR_SET_KEEPCAPS, keep) == 0 && syscall(SYS_capget, &hdr, before) == 0);
	must(before[0].permitted & 1 << CAP_KILL);
	wait_restored();
	check(prctl(PR_GET_KEEPCAPS) == keep);
	check(prctl(PR_GET_SECUREBITS) == (keep ? SECBIT_KEEP_CAPS : 0), "%#x", prctl(PR_GET_SECUREBITS));
	check(setresuid(1000, 1000, 1000) == 0 && syscall(SYS_capget, &hdr, after) == 0);
	check(after[0].permitted == (keep ? before[0].permitted : 0), "%x", after[0].permitted);
	check(after[0].effective == 0, "%x", after[0].effective);
}

int main(void)
{
	start_kid(child, 1);
	start_kid(child, 0);
	must(prctl(PR_SET_KEEPCAPS, 1) == 0);
	save_me();
	check(prctl(PR_GET_KEEPCAPS) == 1);
	finish_kids();
	return finish();
}
