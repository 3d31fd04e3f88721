/* Inotify watches on the folder of the program's own socket: what the restore does there is
 * not seen, and nothing is said to be missed */
#include "check.h"
#include <poll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static int waits(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 100) == 1;
}

int main(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "dir/sock"};
	int before = inotify_init1(IN_NONBLOCK), s, all, own;
	char buf[4096] __attribute__((aligned(8)));

	must(mkdir("dir", 0700) == 0 && inotify_add_watch(before, "dir", IN_DELETE | IN_MOVED_FROM) == 1);
	must((s = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0 && bind(s, (void *)&a, sizeof a) == 0 && listen(s, 1) == 0);
	all = inotify_init1(IN_NONBLOCK);
	own = inotify_init1(IN_NONBLOCK);
	must(inotify_add_watch(all, "dir", IN_ALL_EVENTS) == 1 && inotify_add_watch(own, "dir", IN_DELETE_SELF) == 1);
	save_me();
	check(!waits(before), "what was watched before the socket has an event");
	check(!waits(all), "something is seen");
	check(!waits(own), "the folder is said to have gone");
	must(unlink("dir/sock") == 0);
	check(waits(before) && waits(all));
	struct inotify_event *e = (void *)buf;
	check(read(before, buf, sizeof buf) > 0 && e->mask == IN_DELETE && strcmp(e->name, "sock") == 0, "%#x %s", e->mask, e->name);
	return finish();
}
