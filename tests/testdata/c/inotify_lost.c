/* Inotify: events that waited are lost, and the program is told so by IN_Q_OVERFLOW, as the kernel does; an instance without any is told nothing */
#include "epoll.h"
#include "inotify.h"

int main(void)
{
	int some, many, none, ep, a, b;

	must(mkdir("d", 0700) == 0);
	touch("d/file");
	must((some = inotify_init1(IN_NONBLOCK)) >= 0 && (many = inotify_init1(IN_NONBLOCK)) >= 0 && (none = inotify_init1(IN_NONBLOCK)) >= 0);
	a = add(some, "d", IN_CREATE | IN_MODIFY | IN_DELETE);
	b = add(many, "d", IN_ALL_EVENTS | IN_EXCL_UNLINK);
	must(add(none, "d", IN_DELETE_SELF) == 1);
	append("d/file");
	for (int i = 0; i < 100; i++) {
		touch("d/new");
		must(unlink("d/new") == 0);
	}
	must((ep = epoll_create1(0)) >= 0 && watch(ep, some, EPOLLIN, 1) == 0 && watch(ep, none, EPOLLIN, 2) == 0);
	must(waiting(some) > 16 && waiting(many) > 1000 && waiting(none) == 0);
	save_me();

	check(event(ep, 1, NULL) == EPOLLIN && event(ep, 2, NULL) == 0);
	tells(some, -1, IN_Q_OVERFLOW, "");
	tells(many, -1, IN_Q_OVERFLOW, "");
	quiet(some);
	quiet(many);
	quiet(none);
	append("d/file");
	tells(some, a, IN_MODIFY, "file");
	tells(many, b, IN_OPEN, "file");
	tells(many, b, IN_MODIFY, "file");
	tells(many, b, IN_CLOSE_WRITE, "file");
	quiet(some);
	quiet(many);
	return finish();
}
