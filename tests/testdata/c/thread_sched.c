/* Names, nice values, policies and affinity differ from thread to thread. */
#include "threads.h"
#include <sys/prctl.h>
#include <sys/resource.h>

static void body(int i)
{
	struct sched_param p = {.sched_priority = i == 3 ? 5 : 0};
	int policy = (int[]){SCHED_OTHER, SCHED_BATCH, SCHED_IDLE, SCHED_RR}[i];
	char name[16], now[16];
	cpu_set_t set, was;

	snprintf(name, sizeof name, "t %d \xff", i);
	must(prctl(PR_SET_NAME, name) == 0);
	must(sched_setscheduler(0, policy, &p) == 0);
	if (i < 2)
		must(setpriority(PRIO_PROCESS, gettid(), i + 3) == 0);
	must(sched_getaffinity(0, sizeof set, &set) == 0);
	if (i % 2 && CPU_COUNT(&set) > 1)
		for (int c = 0; c < CPU_SETSIZE; c++)
			if (CPU_ISSET(c, &set)) {
				CPU_CLR(c, &set);
				break;
			}
	must(sched_setaffinity(0, sizeof set, &set) == 0 && prctl(PR_SET_TIMERSLACK, 1000 * (i + 1)) == 0);
	wait_restored();
	check(prctl(PR_GET_NAME, now) == 0 && !strcmp(name, now), "%s", now);
	check(sched_getscheduler(0) == policy, "thread %d: policy %d", i, sched_getscheduler(0));
	check(sched_getparam(0, &p) == 0 && p.sched_priority == (i == 3 ? 5 : 0));
	errno = 0;
	if (i < 2)
		check(getpriority(PRIO_PROCESS, gettid()) == i + 3, "thread %d: nice %d", i, getpriority(PRIO_PROCESS, gettid()));
	check(sched_getaffinity(0, sizeof was, &was) == 0 && CPU_EQUAL(&was, &set), "thread %d", i);
	if (i < 3)
		check(prctl(PR_GET_TIMERSLACK) == 1000 * (i + 1), "thread %d: slack %d", i, prctl(PR_GET_TIMERSLACK));
}

int main(void)
{
	for (int i = 0; i < 4; i++)
		start_thread(body, i);
	save_me();
	check(sched_getscheduler(0) == SCHED_OTHER && getpriority(PRIO_PROCESS, 0) == 0);
	finish_threads();
	return finish();
}
