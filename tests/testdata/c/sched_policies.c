/* Children of every scheduling policy, with priorities, parameters and
 * reset-on-fork. */
#include "kids.h"

struct sched_attr {
	uint32_t size, sched_policy;
	uint64_t sched_flags;
	int32_t sched_nice;
	uint32_t sched_priority;
	uint64_t sched_runtime, sched_deadline, sched_period;
	uint32_t sched_util_min, sched_util_max;
};

static const struct sched_attr want[] = {
	{.sched_policy = SCHED_FIFO, .sched_priority = 10},
	{.sched_policy = SCHED_RR, .sched_priority = 99},
	{.sched_policy = SCHED_BATCH, .sched_nice = 7},
	{.sched_policy = SCHED_IDLE},
	{.sched_policy = SCHED_OTHER, .sched_nice = -7, .sched_flags = 1 /* reset on fork */},
	{.sched_policy = SCHED_RR, .sched_priority = 1, .sched_flags = 1},
	{.sched_policy = 6 /* SCHED_DEADLINE */, .sched_runtime = 1000000, .sched_deadline = 10000000, .sched_period = 20000000, .sched_flags = 1},
	{.sched_policy = 6, .sched_runtime = 2000000, .sched_deadline = 30000000, .sched_period = 30000000},
};

static void child(int i)
{
	struct sched_attr set = want[i], before = {0}, now = {0};

	set.size = sizeof set;
	must(syscall(SYS_sched_setattr, 0, &set, 0) == 0);
	must(syscall(SYS_sched_getattr, 0, &before, sizeof before, 0) == 0);
	wait_restored();
	check(syscall(SYS_sched_getattr, 0, &now, sizeof now, 0) == 0);
	check(now.sched_policy == want[i].sched_policy, "%u", now.sched_policy);
	check(now.sched_priority == want[i].sched_priority, "%u", now.sched_priority);
	check(now.sched_nice == want[i].sched_nice, "%d", now.sched_nice);
	check(now.sched_flags == want[i].sched_flags, "%#lx", now.sched_flags);
	check(now.sched_runtime == before.sched_runtime && now.sched_deadline == before.sched_deadline && now.sched_period == before.sched_period,
		"%lu, %lu, %lu", now.sched_runtime, now.sched_deadline, now.sched_period);
}

int main(void)
{
	for (int i = 0; i < 8; i++)
		start_kid(child, i);
	save_me();
	check(sched_getscheduler(0) == SCHED_OTHER);
	finish_kids();
	return finish();
}
