/* A thread blocked in epoll_wait without a time limit is woken by what happens
 * after the restore, one with a time limit ends by itself. */
#include "epoll.h"
#include <pthread.h>

static struct epoll_event woken;
static int ep, idle, result, timed = -1;
static volatile int started;

static void *waits(void *arg)
{
	started = 1;
	do
		result = epoll_wait(ep, &woken, 1, -1);
	while (result == -1 && errno == EINTR);
	return NULL;
}

static void *waits_limited(void *arg)
{
	struct epoll_event e;

	timed = epoll_wait(idle, &e, 1, 1000);
	if (timed == -1 && errno == EINTR)
		timed = 0;
	return NULL;
}

int main(void)
{
	pthread_t t, l;
	int p[2];

	must((ep = epoll_create1(0)) >= 0 && (idle = epoll_create1(0)) >= 0 && pipe(p) == 0 && watch(ep, p[0], EPOLLIN, 0x123456789abcdef0) == 0);
	must(pthread_create(&t, NULL, waits, NULL) == 0 && pthread_create(&l, NULL, waits_limited, NULL) == 0);
	while (!started)
		usleep(1000);
	usleep(20000);
	save_me();
	check(result == 0, "it was woken too early");
	check(write(p[1], "x", 1) == 1);
	pthread_join(t, NULL);
	pthread_join(l, NULL);
	check(result == 1 && woken.events == EPOLLIN && woken.data.u64 == 0x123456789abcdef0, "%d, %#x", result, woken.events);
	check(timed == 0, "%d", timed);
	return finish();
}
