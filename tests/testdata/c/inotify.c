/* Inotify: watches of folders, files and a symbolic link with their numbers and masks, also where some were removed in between; no event but those of the program's own; flags, what is shared, and a thread and an epoll that wait for the next */
#include "kids.h"
#include "epoll.h"
#include "inotify.h"
#include <pthread.h>

static int fd, awaited, seven;
static volatile int got;

static void *reader(void *arg)
{
	struct inotify_event e;

	got = read(awaited, &e, sizeof e) == sizeof e && e.wd == seven ? (int)e.mask : -1;
	return NULL;
}

static void child(int arg)
{
	wait_restored();
	check(inotify_rm_watch(fd, 2) == 0);
}

int main(void)
{
	int folder, file, link, gone[3], all, none, high, blocking, ep, n, opened;
	pthread_t thread;

	must(mkdir("d", 0700) == 0 && mkdir("d/in", 0700) == 0 && symlink("nowhere", "l") == 0 && mkdir("e", 0700) == 0 && mkdir("f", 0700) == 0);
	touch("d/file");
	touch("other");
	touch("awaited");
	touch("held");
	must((fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC)) >= 0);
	must((folder = add(fd, "d", IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ONLYDIR)) == 1);
	must((file = add(fd, "other", IN_MODIFY)) == 2);
	for (int i = 0; i < 3; i++)
		gone[i] = add(fd, i == 0 ? "." : i == 1 ? "/" : "/proc", IN_DELETE_SELF);
	link = add(fd, "l", IN_DELETE_SELF | IN_DONT_FOLLOW);
	must(add(fd, "other", IN_ATTRIB | IN_MASK_ADD) == file);
	for (int i = 0; i < 3; i++) {
		struct inotify_event e;
		must(inotify_rm_watch(fd, gone[i]) == 0 && read(fd, &e, sizeof e) == sizeof e && e.mask == IN_IGNORED);
	}
	all = add(fd, "d/in", IN_ALL_EVENTS | IN_EXCL_UNLINK);
	none = add(fd, "e", IN_ONLYDIR); /* a watch for nothing but its own end */
	for (high = 0; high < 900;) {
		struct inotify_event e;
		must((high = add(fd, "f", IN_CREATE | IN_ONESHOT)) > 0);
		if (high < 900)
			must(inotify_rm_watch(fd, high) == 0 && read(fd, &e, sizeof e) == sizeof e);
	}
	int held = add(fd, "held", IN_MODIFY | IN_CLOSE);
	must((awaited = inotify_init1(0)) >= 0);
	seven = add(awaited, "awaited", IN_MODIFY);
	must((blocking = inotify_init()) >= 0);
	start_kid(child, 0);
	must((opened = open("held", O_RDWR)) >= 0);
	must((ep = epoll_create1(0)) >= 0 && watch(ep, fd, EPOLLIN, 1) == 0 && watch(ep, blocking, EPOLLIN, 2) == 0);
	must(pthread_create(&thread, NULL, reader, NULL) == 0);
	usleep(20000);
	must(waiting(fd) == 0);
	save_me();

	check(waiting(fd) == 0 && event(ep, 1, &n) == 0 && n == 0, "%d bytes", waiting(fd));
	quiet(fd);
	check(fcntl(fd, F_GETFL) == O_NONBLOCK && fcntl(fd, F_GETFD) == FD_CLOEXEC && fcntl(blocking, F_GETFL) == 0 && fcntl(blocking, F_GETFD) == 0);
	check(mask_of(fd, folder) == (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO), "%#llx", mask_of(fd, folder));
	check(mask_of(fd, file) == (IN_MODIFY | IN_ATTRIB) && mask_of(fd, none) == 0);
	check(mask_of(fd, all) == (IN_ALL_EVENTS | IN_EXCL_UNLINK) && mask_of(fd, high) == (IN_CREATE | IN_ONESHOT), "%#llx %#llx", mask_of(fd, all), mask_of(fd, high));

	touch("d/new");
	tells(fd, folder, IN_CREATE, "new");
	must(rename("d/new", "d/in/new") == 0);
	tells(fd, folder, IN_MOVED_FROM, "new");
	tells(fd, all, IN_MOVED_TO, "new");
	check(event(ep, 1, NULL) == 0);
	append("other");
	tells(fd, file, IN_MODIFY, "");
	check(event(ep, 1, NULL) == 0);
	must(chmod("other", 0640) == 0);
	tells(fd, file, IN_ATTRIB, "");
	must(write(opened, "x", 1) == 1);
	tells(fd, held, IN_MODIFY, "");
	must(close(opened) == 0);
	tells(fd, held, IN_CLOSE_WRITE, "");
	must(unlink("l") == 0);
	tells(fd, link, IN_DELETE_SELF, "");
	tells(fd, link, IN_IGNORED, "");
	must(rmdir("e") == 0);
	tells(fd, none, IN_IGNORED, "");
	touch("f/once");
	tells(fd, high, IN_CREATE, "once");
	tells(fd, high, IN_IGNORED, "");
	quiet(fd);
	int again = add(fd, "f", IN_CREATE);
	check(again > held, "it got number %d", again);
	check(inotify_rm_watch(fd, gone[0]) == -1 && errno == EINVAL);

	check(got == 0, "the thread went on too early: %#x", got);
	append("awaited");
	pthread_join(thread, NULL);
	check(got == IN_MODIFY, "%#x", got);
	finish_kids();
	check(event(ep, 1, NULL) == EPOLLIN);
	tells(fd, file, IN_IGNORED, "");
	return finish();
}
