/* Descriptors by O_PATH of what has a path and nothing to be opened: symbolic links, also renamed and dangling ones, names of sockets, devices; nothing of them is opened */
#include "check.h"
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

int main(void)
{
	static const char *path[] = {"link", "dangling", "absolute", "socket", "/dev/kmsg", "/dev/ptmx", "/dev/zero", "/dev"};
	enum { COUNT = sizeof path / sizeof *path };
	struct sockaddr_un sa = {.sun_family = AF_UNIX, .sun_path = "socket"};
	int fds[COUNT], flags[COUNT], s, twin, renamed;
	struct stat was[COUNT], now;
	char text[64];

	must(mkdir("folder", 0700) == 0 && symlink("folder", "link") == 0 && symlink("nowhere", "dangling") == 0 && symlink("/etc/passwd", "absolute") == 0);
	must((s = socket(AF_UNIX, SOCK_DGRAM, 0)) >= 0 && bind(s, (void *)&sa, sizeof sa) == 0 && close(s) == 0);
	for (int i = 0; i < COUNT; i++) {
		must((fds[i] = open(path[i], O_PATH | O_NOFOLLOW | (i % 2 ? O_CLOEXEC : 0))) >= 0 && fstat(fds[i], &was[i]) == 0);
		must((flags[i] = fcntl(fds[i], F_GETFL)) >= 0);
	}
	must((twin = dup(fds[0])) >= 0);
	must(symlink("target of it", "old") == 0 && (renamed = open("old", O_PATH | O_NOFOLLOW)) >= 0 && rename("old", "folder/new") == 0);
	save_me();

	for (int i = 0; i < COUNT; i++) {
		check(fcntl(fds[i], F_GETFL) == flags[i], "%s: %#o, was %#o", path[i], fcntl(fds[i], F_GETFL), flags[i]);
		check(fcntl(fds[i], F_GETFD) == (i % 2 ? FD_CLOEXEC : 0), "%s", path[i]);
		check(fstat(fds[i], &now) == 0 && now.st_ino == was[i].st_ino && now.st_dev == was[i].st_dev && now.st_mode == was[i].st_mode && now.st_rdev == was[i].st_rdev, "%s", path[i]);
		check(read(fds[i], text, 1) == -1 && errno == EBADF);
	}
	check(readlinkat(fds[0], "", text, sizeof text) == 6 && memcmp(text, "folder", 6) == 0);
	check(readlinkat(twin, "", text, sizeof text) == 6);
	check(readlinkat(fds[1], "", text, sizeof text) == 7 && memcmp(text, "nowhere", 7) == 0);
	check(readlinkat(fds[2], "", text, sizeof text) == 11);
	check(readlinkat(renamed, "", text, sizeof text) == 12 && memcmp(text, "target of it", 12) == 0);
	check((s = openat(fds[COUNT - 1], "null", O_WRONLY)) >= 0 && write(s, "x", 1) == 1);
	return finish();
}
