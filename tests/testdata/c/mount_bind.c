/* Binds of the host's folders and files, some of them read-only. */
#include "mounts.h"

int main(void)
{
	char *before, buf[16];
	int fd;

	must(mkdir("src", 0755) == 0 && mkdir("src/in", 0755) == 0 && mkdir("dst", 0755) == 0 && mkdir("in", 0755) == 0);
	put("src/in/f", "host");
	put("file", "a file");
	put("place", "");
	own_mounts();
	must(mount("src", "dst", NULL, MS_BIND, NULL) == 0 && mount("src/in", "in", NULL, MS_BIND, NULL) == 0 && mount("file", "place", NULL, MS_BIND, NULL) == 0);
	must((fd = open("in/f", O_RDONLY)) >= 0);
	must(mount("", "in", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC, NULL) == 0);
	before = table();
	save_me();
	same_table(before);
	check(holds("dst/in/f", "host") && holds("in/f", "host") && holds("place", "a file"));
	check(open("in/f", O_RDWR) < 0 && errno == EROFS);
	check(pread(fd, buf, 16, 0) == 4);
	check(umount2("in", MNT_DETACH) == 0 && open("in/f", O_RDONLY) < 0);
	return finish();
}
