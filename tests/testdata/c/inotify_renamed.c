/* Inotify: what was renamed, moved or replaced after it was watched is watched still, also one that has been deleted and is open */
#include "inotify.h"

int main(void)
{
	int fd, moved, folder, replaced, linked, deleted, n;

	must(mkdir("a", 0700) == 0 && mkdir("a/b", 0700) == 0 && mkdir("c", 0700) == 0);
	touch("a/file");
	touch("conf");
	touch("two");
	touch("deleted");
	must((fd = inotify_init1(IN_NONBLOCK)) >= 0);
	moved = add(fd, "a/file", IN_MODIFY | IN_MOVE_SELF);
	folder = add(fd, "a/b", IN_CREATE | IN_EXCL_UNLINK);
	replaced = add(fd, "conf", IN_MODIFY);
	linked = add(fd, "two", IN_MODIFY);
	deleted = add(fd, "deleted", IN_MODIFY | IN_DELETE_SELF);
	must(rename("a/file", "c/with a space\n") == 0);
	tells(fd, moved, IN_MOVE_SELF, "");
	must(rename("a/b", "c/d") == 0 && rmdir("a") == 0);
	/* the watched file goes on under another name, and a new one has its old name */
	must(rename("conf", "conf.old") == 0);
	touch("conf");
	must(link("two", "c/one") == 0 && unlink("two") == 0);
	int open_deleted = open("deleted", O_RDWR);
	must(open_deleted >= 0 && unlink("deleted") == 0);
	must(waiting(fd) == 0);
	save_me();

	n = waiting(fd);
	check(n == 0, "%d bytes", n);
	append("c/with a space\n");
	tells(fd, moved, IN_MODIFY, "");
	touch("c/d/new");
	tells(fd, folder, IN_CREATE, "new");
	append("conf");
	quiet(fd);
	append("conf.old");
	tells(fd, replaced, IN_MODIFY, "");
	append("c/one");
	tells(fd, linked, IN_MODIFY, "");
	must(write(open_deleted, "x", 1) == 1);
	tells(fd, deleted, IN_MODIFY, "");
	must(close(open_deleted) == 0);
	tells(fd, deleted, IN_DELETE_SELF, "");
	tells(fd, deleted, IN_IGNORED, "");
	quiet(fd);
	return finish();
}
