/* Which CPUs the processes and a thread may use. */
#include "kids.h"
#include <pthread.h>

static volatile int set, restored, seen;

static void use(int mask)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	for (int i = 0; i < 2; i++)
		if (mask & 1 << i)
			CPU_SET(i, &cpus);
	must(sched_setaffinity(0, sizeof cpus, &cpus) == 0);
}

static int used(void)
{
	cpu_set_t cpus;
	int mask = 0;

	if (sched_getaffinity(0, sizeof cpus, &cpus) != 0)
		return -1;
	for (int i = 0; i < 30; i++)
		mask |= (CPU_ISSET(i, &cpus) != 0) << i;
	return mask;
}

static void *thread(void *arg)
{
	use(2);
	set = 1;
	while (!restored)
		usleep(1000);
	seen = used();
	return NULL;
}

static void child(int mask)
{
	use(mask);
	wait_restored();
	check(used() == mask, "%#x", used());
}

int main(void)
{
	pthread_t t;

	for (int mask = 1; mask <= 3; mask++)
		start_kid(child, mask);
	use(1);
	must(pthread_create(&t, NULL, thread, NULL) == 0);
	while (!set)
		usleep(1000);
	save_me();
	check(used() == 1, "%#x", used());
	restored = 1;
	pthread_join(t, NULL);
	check(seen == 2, "the thread has %#x", seen);
	finish_kids();
	return finish();
}
