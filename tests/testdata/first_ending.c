/* The first thread is in exit(2), which takes its time to close what it alone has open, and
 * becomes a zombie without having stopped. */
#include "c/first_ended.h"
#include <sys/inotify.h>

static int exiting(void)
{
	char name[64], text[64] = "";
	int fd;

	snprintf(name, sizeof name, "/proc/%d/syscall", getpid());
	if ((fd = open(name, O_RDONLY)) >= 0) {
		must(read(fd, text, sizeof text - 1) > 0);
		close(fd);
	}
	return atoi(text) == SYS_exit || stat_field(getpid(), 3) == 'Z';
}

static void *goes_on(void *arg)
{
	while (!exiting())
		usleep(100);
	save_me();
	check(first_ended(getpid(), 6));
	exit(finish());
	return arg;
}

int main(void)
{
	pthread_t t;

	must(pthread_create(&t, NULL, goes_on, NULL) == 0 && syscall(SYS_unshare, CLONE_FILES) == 0);
	for (int i = 0; i < 30; i++) { /* each waits for a grace period when it is closed */
		int fd = inotify_init1(0);

		must(fd >= 0 || errno == EMFILE);
		if (fd >= 0)
			must(inotify_add_watch(fd, "/", IN_CREATE) > 0);
	}
	syscall(SYS_exit, 6);
}
