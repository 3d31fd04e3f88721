/* Real, effective, saved and file system user and group ids that all differ. */
#include "proc.h"
#include <grp.h>
#include <linux/capability.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

int main(void)
{
	struct __user_cap_header_struct hdr = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct caps[2] = {{.effective = 1 << CAP_SETUID, .permitted = 1 << CAP_SETUID}}, none[2] = {{0}};
	uid_t r, e, s;
	struct stat st;

	must(chmod(".", 0777) == 0 && setgroups(0, NULL) == 0);
	must(setresgid(1001, 1002, 1003) == 0 && setfsgid(1004) == 1002);
	must(prctl(PR_SET_KEEPCAPS, 1) == 0 && setresuid(2001, 2002, 2003) == 0);
	must(syscall(SYS_capset, &hdr, caps) == 0);
	must(setfsuid(2004) == 2002 && setfsuid(-1) == 2004);
	must(syscall(SYS_capset, &hdr, none) == 0);
	must(SAME(status("Uid"), "2001\t2002\t2003\t2004") && SAME(status("Gid"), "1001\t1002\t1003\t1004"));
	save_me();
	check(getresuid(&r, &e, &s) == 0 && r == 2001 && e == 2002 && s == 2003, "%u %u %u", r, e, s);
	check(getresgid(&r, &e, &s) == 0 && r == 1001 && e == 1002 && s == 1003, "%u %u %u", r, e, s);
	check(SAME(status("Uid"), "2001\t2002\t2003\t2004"), "%s", status("Uid"));
	check(SAME(status("Gid"), "1001\t1002\t1003\t1004"), "%s", status("Gid"));
	check(getgroups(0, NULL) == 0);
	check(mknod("mine", S_IFREG | 0600, 0) == 0 && stat("mine", &st) == 0 && st.st_uid == 2004 && st.st_gid == 1004, "%u %u", st.st_uid, st.st_gid);
	return finish();
}
