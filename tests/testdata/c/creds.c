/* An unprivileged user that kept some capabilities. */
#include "check.h"
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/stat.h>

static struct __user_cap_header_struct hdr = {_LINUX_CAPABILITY_VERSION_3, 0};

int main(void)
{
	gid_t groups[] = {5, 1000, 70000}, got[16];
	struct __user_cap_data_struct caps[2], now[2];
	uid_t r, e, s;

	must(chmod(".", 0777) == 0);
	must(prctl(PR_SET_KEEPCAPS, 1) == 0 && prctl(PR_CAPBSET_DROP, CAP_SYS_TIME) == 0);
	must(setgroups(3, groups) == 0 && setresgid(1001, 1002, 1003) == 0 && setresuid(2001, 2002, 2003) == 0);
	memset(caps, 0, sizeof caps);
	caps[0].permitted = caps[0].inheritable = 1 << CAP_NET_RAW | 1 << CAP_KILL | 1 << CAP_SETPCAP | 1 << CAP_SETGID;
	caps[0].effective = 1 << CAP_NET_RAW | 1 << CAP_SETPCAP | 1 << CAP_SETGID;
	must(syscall(SYS_capset, &hdr, caps) == 0);
	must(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_RAW, 0, 0) == 0);
	must(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT) == 0);
	setfsgid(1003);
	save_me();
	check(getresuid(&r, &e, &s) == 0 && r == 2001 && e == 2002 && s == 2003, "%d %d %d", r, e, s);
	check(getresgid(&r, &e, &s) == 0 && r == 1001 && e == 1002 && s == 1003, "%d %d %d", r, e, s);
	check(setfsuid(-1) == 2002 && setfsgid(-1) == 1003, "fsuid %d, fsgid %d", setfsuid(-1), setfsgid(-1));
	int n = getgroups(16, got);
	check(n == 3 && got[0] == 5 && got[1] == 1000 && got[2] == 70000, "%d groups", n);
	check(syscall(SYS_capget, &hdr, now) == 0 && !memcmp(now, caps, sizeof now), "capabilities %x %x %x", now[0].effective, now[0].permitted, now[0].inheritable);
	check(prctl(PR_CAPBSET_READ, CAP_SYS_TIME) == 0 && prctl(PR_CAPBSET_READ, CAP_KILL) == 1);
	check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_NET_RAW, 0, 0) == 1);
	check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0) == 0);
	check(prctl(PR_GET_SECUREBITS) == SECBIT_NOROOT, "securebits %x", prctl(PR_GET_SECUREBITS));
	return finish();
}
