/* A file that is watched for being opened, and by a child for being closed. */
#include "c/check.h"
#include <signal.h>
#include <sys/fanotify.h>
#include <sys/wait.h>

static int watcher(uint64_t mask)
{
	int fd = fanotify_init(FAN_CLOEXEC | FAN_NONBLOCK, O_RDONLY);

	must(fd >= 0 && fanotify_mark(fd, FAN_MARK_ADD, mask, AT_FDCWD, "marked") == 0);
	return fd;
}

/* seen returns what happened to the file, without closing what it is told by. */
static uint64_t seen(int fd)
{
	struct fanotify_event_metadata e[8];
	ssize_t n = read(fd, e, sizeof e);
	uint64_t mask = 0;

	for (int i = 0; i < n / (ssize_t)sizeof *e; i++)
		mask |= e[i].mask;
	return mask;
}

int main(void)
{
	int gate[2], set[2], status, fd;

	must(pipe(gate) == 0 && pipe(set) == 0);
	must((fd = open("marked", O_CREAT | O_WRONLY, 0600)) >= 0 && close(fd) == 0);
	int here = watcher(FAN_OPEN);
	pid_t child = fork();
	must(child >= 0);
	if (child == 0) {
		close(here);
		close(gate[1]);
		int fd = watcher(FAN_CLOSE_NOWRITE);
		must(write(set[1], "", 1) == 1);
		while (read(gate[0], &status, 1) == -1 && errno == EINTR)
			;
		_exit(seen(fd) == FAN_CLOSE_NOWRITE ? 0 : 1);
	}
	must(read(set[0], &status, 1) == 1);
	save_me();
	check(seen(here) == 0, "something of the restart is seen");
	check((fd = open("marked", O_RDONLY)) >= 0 && close(fd) == 0);
	uint64_t mask = seen(here);
	check(mask == FAN_OPEN, "%#llx", (unsigned long long)mask);
	close(gate[1]);
	check(waitpid(child, &status, 0) == child && status == 0, "%#x", status);
	return finish();
}
