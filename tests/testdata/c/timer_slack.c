/* The timer slack, which belongs to a thread. */
#include "kids.h"
#include <pthread.h>
#include <sys/prctl.h>

static volatile int set, restored, seen = -1;

static void *thread(void *arg)
{
	must(prctl(PR_SET_TIMERSLACK, 999) == 0);
	set = 1;
	while (!restored)
		usleep(1000);
	seen = prctl(PR_GET_TIMERSLACK);
	return NULL;
}

static void child(int slack)
{
	must(prctl(PR_SET_TIMERSLACK, slack) == 0);
	wait_restored();
	check(prctl(PR_GET_TIMERSLACK) == slack, "%d", prctl(PR_GET_TIMERSLACK));
}

int main(void)
{
	pthread_t t;

	must(prctl(PR_SET_TIMERSLACK, 123456) == 0);
	must(pthread_create(&t, NULL, thread, NULL) == 0);
	while (!set)
		usleep(1000);
	start_kid(child, 777);
	start_kid(child, 2000000000);
	save_me();
	check(prctl(PR_GET_TIMERSLACK) == 123456, "%d", prctl(PR_GET_TIMERSLACK));
	restored = 1;
	pthread_join(t, NULL);
	check(seen == 999, "the thread has %d", seen);
	finish_kids();
	return finish();
}
