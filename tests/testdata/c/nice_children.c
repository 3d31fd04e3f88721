/* Children and a thread of different nice values. */
#include "kids.h"
#include <pthread.h>
#include <sys/resource.h>

static const int values[] = {-20, -5, 0, 7, 19};
static volatile int set, restored, seen;

static void *thread(void *arg)
{
	must(setpriority(PRIO_PROCESS, 0, 11) == 0);
	set = 1;
	while (!restored)
		usleep(1000);
	seen = getpriority(PRIO_PROCESS, 0);
	return NULL;
}

static void child(int i)
{
	must(setpriority(PRIO_PROCESS, 0, values[i]) == 0);
	wait_restored();
	check(getpriority(PRIO_PROCESS, 0) == values[i], "%d", getpriority(PRIO_PROCESS, 0));
}

int main(void)
{
	pthread_t t;

	for (int i = 0; i < 5; i++)
		start_kid(child, i);
	must(setpriority(PRIO_PROCESS, 0, 3) == 0);
	must(pthread_create(&t, NULL, thread, NULL) == 0);
	while (!set)
		usleep(1000);
	save_me();
	check(getpriority(PRIO_PROCESS, 0) == 3, "%d", getpriority(PRIO_PROCESS, 0));
	restored = 1;
	pthread_join(t, NULL);
	check(seen == 11, "the thread has %d", seen);
	finish_kids();
	return finish();
}
