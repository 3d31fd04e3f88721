/* All sixteen resource limits of a child, soft and hard, as high as the machine
 * allows; the parent's stay. */
#include "kids.h"
#include <sys/resource.h>

static const struct rlimit want[RLIM_NLIMITS] = {
	[RLIMIT_CPU] = {1001, 2002},
	[RLIMIT_FSIZE] = {1ul << 40, 1ul << 41},
	[RLIMIT_DATA] = {(1ul << 40) + 1, RLIM_INFINITY},
	[RLIMIT_STACK] = {4 << 20, 7 << 20},
	[RLIMIT_CORE] = {4096, 8192},
	[RLIMIT_RSS] = {123456789, 987654321},
	[RLIMIT_NPROC] = {5001, 6002},
	[RLIMIT_NOFILE] = {101, 202},
	[RLIMIT_MEMLOCK] = {65536, 131072},
	[RLIMIT_AS] = {1ul << 42, 1ul << 43},
	[RLIMIT_LOCKS] = {33, 44},
	[RLIMIT_SIGPENDING] = {111, 1111},
	[RLIMIT_MSGQUEUE] = {10001, 20002},
	[RLIMIT_NICE] = {11, 22},
	[RLIMIT_RTPRIO] = {12, 23},
	[RLIMIT_RTTIME] = {1000000001, 2000000002},
};

static void child(int arg)
{
	struct rlimit set[RLIM_NLIMITS], now;

	for (int i = 0; i < RLIM_NLIMITS; i++) {
		must(getrlimit(i, &now) == 0);
		set[i].rlim_max = want[i].rlim_max < now.rlim_max ? want[i].rlim_max : now.rlim_max;
		set[i].rlim_cur = want[i].rlim_cur < set[i].rlim_max ? want[i].rlim_cur : set[i].rlim_max;
		must(setrlimit(i, &set[i]) == 0);
	}
	wait_restored();
	for (int i = 0; i < RLIM_NLIMITS; i++) {
		check(getrlimit(i, &now) == 0);
		check(now.rlim_cur == set[i].rlim_cur && now.rlim_max == set[i].rlim_max, "limit %d is %lu, %lu", i, now.rlim_cur, now.rlim_max);
	}
	while (dup(0) >= 0)
		;
	check(errno == EMFILE && fcntl(set[RLIMIT_NOFILE].rlim_cur - 1, F_GETFD) >= 0);
}

int main(void)
{
	struct rlimit before[RLIM_NLIMITS], now;

	start_kid(child, 0);
	for (int i = 0; i < RLIM_NLIMITS; i++)
		must(getrlimit(i, &before[i]) == 0);
	save_me();
	for (int i = 0; i < RLIM_NLIMITS; i++) {
		check(getrlimit(i, &now) == 0);
		check(now.rlim_cur == before[i].rlim_cur && now.rlim_max == before[i].rlim_max, "limit %d is %lu, %lu", i, now.rlim_cur, now.rlim_max);
	}
	finish_kids();
	return finish();
}
