/* A folder of a tmpfs of its own as root, by chroot, with the working folder outside of it. */
#include "mounts.h"

int main(void)
{
	char *before;
	struct stat st, root;
	int fd;

	own_mounts();
	here("t", "");
	must(mkdir("t/jail", 0755) == 0);
	put("t/jail/f", "inside");
	put("t/f", "outside");
	before = table();
	must((fd = open("t", O_RDONLY | O_DIRECTORY)) >= 0 && chroot("t/jail") == 0);
	save_me();
	check(holds("/f", "inside") && holds("t/f", "outside"));
	check(stat("/..", &st) == 0 && stat("/", &root) == 0 && st.st_ino == root.st_ino && st.st_dev == root.st_dev);
	check(openat(fd, "jail/f", O_RDONLY) >= 0);
	check(fchdir(fd) == 0 && chroot(".") == 0 && chdir("..") == 0 && before);
	return finish();
}
