/* Waits of six seconds in children, half over when they are saved, go on with the
 * time that was left. */
#include "kids.h"
#include <poll.h>
#include <time.h>

enum { NANOSLEEP, POLL, FUTEX, N };

static const char *name[N] = {"nanosleep", "poll", "futex"};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static volatile double *go; /* when the first process went on after the restore */

static void child(int i)
{
	struct timespec ts = {6, 0};
	int word = 1;

	me->ready = 1;
	switch (i) {
	case NANOSLEEP:
		check(syscall(SYS_nanosleep, &ts, NULL) == 0, "%s", strerror(errno));
		break;
	case POLL:
		check(syscall(SYS_poll, NULL, 0, 6000) == 0, "%s", strerror(errno));
		break;
	case FUTEX:
		check(syscall(SYS_futex, &word, 128, 1, &ts, NULL, 0) == -1 && errno == ETIMEDOUT, "%s", strerror(errno));
	}
	double waited = now() - *go;
	check(*go > 0 && waited > 1 && waited < 5.5, "%s ended %.2f s later", name[i], waited);
}

int main(void)
{
	go = mmap(NULL, sizeof *go, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(go != MAP_FAILED);
	for (int i = 0; i < N; i++)
		start_kid(child, i);
	sleep(3);
	save_me();
	*go = now();
	finish_kids();
	return finish();
}
