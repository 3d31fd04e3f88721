/* proc, sysfs, mqueue, devpts, cgroups and hugetlbfs, mounted anew, also in parts and
 * read-only. */
#include "mounts.h"

static void on(const char *type, const char *name, const char *options)
{
	must(mkdir(name, 0755) == 0 && mount(type, name, type, 0, options) == 0);
}

int main(void)
{
	char *before, buf[64];

	own_mounts();
	on("proc", "p", "hidepid=2,gid=5");
	on("sysfs", "s", NULL);
	on("mqueue", "m", NULL);
	on("cgroup2", "c", NULL);
	on("devpts", "pts", "newinstance,gid=5,mode=620,ptmxmode=666,max=9");
	on("hugetlbfs", "h", "pagesize=2M,mode=711");
	must(mkdir("sys", 0755) == 0 && mount("p/sys", "sys", NULL, MS_BIND, NULL) == 0);
	must(mount("", "sys", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) == 0);
	must(mount("/dev/null", "p/keys", NULL, MS_BIND, NULL) == 0);
	before = table();
	save_me();
	same_table(before);
	check(readlink("p/self", buf, sizeof buf) > 0 && atoi(buf) == getpid());
	check(access("s/kernel", F_OK) == 0 && access("c/cgroup.procs", F_OK) == 0 && access("pts/ptmx", W_OK) == 0);
	check(open("sys/kernel/hostname", O_WRONLY) < 0 && errno == EROFS);
	check(holds("p/keys", ""));
	return finish();
}
