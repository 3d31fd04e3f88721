/* What was said when a file was opened stays with it: O_NOFOLLOW, O_DIRECTORY, O_PATH, O_APPEND, O_SYNC, O_NOATIME, O_NONBLOCK, the access mode, alone and together */
#include "check.h"
#include <sys/stat.h>

static const struct {
	const char *path;
	int flags;
} opened[] = {
	{"file", O_RDONLY}, {"file", O_WRONLY}, {"file", O_RDWR | O_APPEND}, {"file", O_WRONLY | O_APPEND | O_NOFOLLOW},
	{"file", O_RDONLY | O_NOFOLLOW}, {"file", O_RDONLY | O_NOFOLLOW | O_NONBLOCK}, {"file", O_RDWR | O_SYNC},
	{"file", O_RDONLY | O_NOATIME}, {"file", O_PATH}, {"file", O_PATH | O_NOFOLLOW},
	{"folder", O_RDONLY}, {"folder", O_RDONLY | O_DIRECTORY}, {"folder", O_RDONLY | O_DIRECTORY | O_NOFOLLOW},
	{"folder", O_PATH}, {"folder", O_PATH | O_DIRECTORY}, {"folder", O_PATH | O_DIRECTORY | O_NOFOLLOW},
	{"fifo", O_RDWR}, {"fifo", O_RDONLY | O_NONBLOCK}, {"fifo", O_WRONLY | O_NONBLOCK}, {"fifo", O_PATH | O_NOFOLLOW}, {"fifo", O_RDWR | O_NOFOLLOW | O_NONBLOCK},
	{"hidden/file", O_WRONLY}, {"/dev/null", O_WRONLY | O_APPEND}, {"/dev/null", O_PATH},
};
#define OPENED (sizeof opened / sizeof opened[0])

int main(void)
{
	int fds[OPENED], flags[OPENED];
	struct stat was[OPENED], now;

	must(close(open("file", O_CREAT | O_WRONLY, 0644)) == 0);
	must(mkdir("folder", 0755) == 0 && mkdir("hidden", 0755) == 0 && mkfifo("fifo", 0600) == 0);
	must(close(open("hidden/file", O_CREAT | O_WRONLY, 0200)) == 0);
	for (size_t i = 0; i < OPENED; i++) {
		must((fds[i] = open(opened[i].path, opened[i].flags)) >= 0);
		must((flags[i] = fcntl(fds[i], F_GETFL)) >= 0);
		must(fstat(fds[i], &was[i]) == 0);
	}
	must(chmod("hidden", 0) == 0);
	save_me();
	for (size_t i = 0; i < OPENED; i++) {
		check(fcntl(fds[i], F_GETFL) == flags[i], "%s: %o, was %o", opened[i].path, fcntl(fds[i], F_GETFL), flags[i]);
		check(fstat(fds[i], &now) == 0 && now.st_ino == was[i].st_ino && now.st_dev == was[i].st_dev, "%s", opened[i].path);
	}
	check(write(fds[1], "x", 1) == 1);
	check(read(fds[1], &now, 1) < 0 && errno == EBADF);
	return finish();
}
