/* Inotify: watches on a folder, a file in it and the root of a tmpfs of its own. */
#include "mounts.h"
#include "inotify.h"

int main(void)
{
	int fd, wd[3];

	own_mounts();
	here("t", "");
	must(mkdir("t/d", 0755) == 0);
	put("t/d/f", "text");
	must((fd = inotify_init1(IN_NONBLOCK)) >= 0);
	wd[0] = add(fd, "t/d", IN_CREATE | IN_ATTRIB);
	wd[1] = add(fd, "t/d/f", IN_ALL_EVENTS);
	wd[2] = add(fd, "t", IN_ALL_EVENTS);
	must(waiting(fd) == 0);
	save_me();
	quiet(fd);
	check(chmod("t/d/f", 0600) == 0);
	tells(fd, wd[0], IN_ATTRIB, "f");
	tells(fd, wd[1], IN_ATTRIB, "");
	check(mkdir("t/e", 0700) == 0);
	tells(fd, wd[2], IN_CREATE | IN_ISDIR, "e");
	check(mkdir("t/d/new", 0700) == 0);
	tells(fd, wd[0], IN_CREATE | IN_ISDIR, "new");
	return finish();
}
