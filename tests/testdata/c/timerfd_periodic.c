/* Timerfds with an interval that nobody has read: none of the expirations is lost and none counted twice, before the restore and after it, and the next come when they would have */
#include "timerfd.h"

/* count returns how many times the timer expired, by its own count, in all and how
 * many it should have, by the clock and what is left. */
static void count(int fd, long long every, long long least, const char *what)
{
	long long n = ticks(fd), l = left(fd, NULL);

	check(n >= least, "%s: %lld of at least %lld", what, n, least);
	check(l > 0 && l <= every, "%s: %lld ns left of %lld", what, l, every);
}

int main(void)
{
	/* long ones: it is told exactly how often they expired */
	int slow = timer(CLOCK_MONOTONIC, 0, 1, 10000 * SECOND), twice = timer(CLOCK_BOOTTIME, 0, 1, 10000 * SECOND);
	int fast = timer(CLOCK_MONOTONIC, 0, 1 * MS, 1 * MS), tiny = timer(CLOCK_MONOTONIC, 0, 1, 1);
	int wall = timer(CLOCK_REALTIME, 0, 1, 7000 * SECOND + 1);
	long long begin = at(CLOCK_MONOTONIC), every;

	usleep(50000);
	must(ticks(twice) == 1);
	set_timer(twice, 0, 1, 10000 * SECOND);
	usleep(5000);
	left(twice, NULL); /* it goes on, with one that nobody has read */
	save_me();

	check(told(slow, "ticks", 10) == 1 && told(twice, "ticks", 10) == 1 && told(wall, "ticks", 10) == 1);
	check(ticks(slow) == 1 && ticks(slow) == 0);
	long long l = left(slow, &every);
	check(every == 10000 * SECOND && l <= every && l > every - (at(CLOCK_MONOTONIC) - begin) - SECOND, "%lld of %lld", l, every);
	check(ticks(twice) == 1 && ticks(twice) == 0);
	l = left(twice, &every);
	check(every == 10000 * SECOND && l <= every && l > every - 600 * SECOND, "%lld of %lld", l, every);
	check(ticks(wall) == 1);
	l = left(wall, &every);
	check(every == 7000 * SECOND + 1 && l <= every && l > every - 600 * SECOND, "%lld of %lld", l, every);
	count(fast, MS, 50, "fast");
	check(ticks(tiny) > 50 * MS);
	usleep(20000);
	check(ticks(fast) >= 19);
	check(ticks(tiny) > 19 * MS);
	return finish();
}
