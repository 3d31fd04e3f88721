/* A root of its own, a tmpfs, into which the working folder is bound; then chroot in that. */
#include "mounts.h"
#include <sys/syscall.h>

int main(void)
{
	char *before, buf[PATH_MAX];
	int fd;

	own_mounts();
	here("r", "");
	for (const char **d = (const char *[]){"r/work", "r/proc", "r/old", "r/usr", NULL}; *d; d++)
		must(mkdir(*d, 0755) == 0);
	must(mount(".", "r/work", NULL, MS_BIND, NULL) == 0 && mount("proc", "r/proc", "proc", 0, NULL) == 0);
	put("r/file", "in the root");
	must(syscall(SYS_pivot_root, "r", "r/old") == 0 && chdir("/work") == 0);
	must(umount2("/old", MNT_DETACH) == 0 && rmdir("/old") == 0);
	must((fd = open("/file", O_RDWR)) >= 0);
	before = table();
	save_me();
	same_table(before);
	check(holds("/file", "in the root") && pread(fd, buf, 16, 0) == 11);
	check(getcwd(buf, sizeof buf) && strcmp(buf, "/work") == 0, "%s", buf);
	check(access("/usr", F_OK) == 0 && access("/bin", F_OK) < 0 && access("/work/go", F_OK) == 0);
	check(readlink("/proc/self/exe", buf, sizeof buf) > 0);
	return finish();
}
