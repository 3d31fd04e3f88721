/* A timer in a descriptor of its own, and another in a child. */
#include "c/check.h"
#include <signal.h>
#include <stdint.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

static int timer(int first, int every)
{
	struct itimerspec s = {{every, 0}, {first, 0}};
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);

	must(fd >= 0 && timerfd_settime(fd, 0, &s, NULL) == 0);
	return fd;
}

int main(void)
{
	struct itimerspec s;
	uint64_t n = 0;
	int gate[2], set[2], status;

	must(pipe(gate) == 0 && pipe(set) == 0);
	int here = timer(3600, 7);
	pid_t child = fork();
	must(child >= 0);
	if (child == 0) {
		close(here);
		close(gate[1]);
		int fd = timer(1, 1);
		must(write(set[1], "", 1) == 1);
		while (read(gate[0], &status, 1) == -1 && errno == EINTR)
			;
		_exit(read(fd, &n, 8) == 8 && n > 0 && timerfd_gettime(fd, &s) == 0 && s.it_interval.tv_sec == 1 ? 0 : 1);
	}
	must(read(set[0], &status, 1) == 1);
	save_me();
	check(timerfd_gettime(here, &s) == 0 && s.it_value.tv_sec > 3000 && s.it_interval.tv_sec == 7, "%ld, %ld", (long)s.it_value.tv_sec, (long)s.it_interval.tv_sec);
	close(gate[1]);
	check(waitpid(child, &status, 0) == child && status == 0, "%#x", status);
	return finish();
}
