/* Absolute timerfds: they expire when their clock shows the time, neither earlier nor, without being asked, later; also those whose time came while the program was not there, and with an interval; the flag for changes of the clock stays */
#include "kids.h"
#include "timerfd.h"
#include <poll.h>

#define ABS TFD_TIMER_ABSTIME
#define SET TFD_TIMER_CANCEL_ON_SET

static const int clocks[] = {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME};

int main(void)
{
	int distant[3], soon[3], every[3], gone[3], set, idle;
	long long when[3], start[3], l;

	for (int i = 0; i < 3; i++) {
		long long now = at(clocks[i]);

		when[i] = now + 5 * SECOND;
		start[i] = now + 5 * MS;
		distant[i] = timer(clocks[i], ABS, now + 5000 * SECOND, 0);
		soon[i] = timer(clocks[i], ABS, when[i], 0);
		every[i] = timer(clocks[i], ABS, start[i], 10 * MS);
		gone[i] = timer(clocks[i], ABS, now + 300 * MS, 0);
	}
	set = timer(CLOCK_REALTIME, ABS | SET, at(CLOCK_REALTIME) + 3000 * SECOND, 0);
	idle = timer(CLOCK_REALTIME, ABS | SET, 0, 0);
	int forever = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK);
	struct itimerspec last = {{0}, {INT64_MAX, 0}};
	must(forever >= 0 && timerfd_settime(forever, ABS | SET, &last, NULL) == 0);
	must(ticks(set) == 0 && ticks(forever) == 0);
	save_me();

	for (int i = 0; i < 3; i++) {
		long long off = late(distant[i], clocks[i], when[i] + 4995 * SECOND);
		check(off >= 0 && off < 20 * MS, "clock %d: %lld ns off", clocks[i], off);
		check(told(distant[i], "settime flags", 8) == ABS && told(distant[i], "clockid", 10) == clocks[i]);
		check(within(at(clocks[i]) > when[i] - 4 * SECOND && ticks(gone[i]) == 1), "clock %d", clocks[i]);
		check(left(gone[i], NULL) == 0);
	}
	for (int i = 0; i < 3; i++) {
		struct pollfd p = {soon[i], POLLIN};

		check(poll(&p, 1, 60000) == 1 && at(clocks[i]) >= when[i], "clock %d: %lld ns early", clocks[i], when[i] - at(clocks[i]));
		check(ticks(soon[i]) == 1);
		/* its whole number of intervals since it began */
		long long n = ticks(every[i]), now = at(clocks[i]), should = (now - start[i]) / (10 * MS) + 1;
		check(n <= should && n >= should - 50, "clock %d: %lld expirations, should be %lld", clocks[i], n, should);
		l = left(every[i], NULL);
		now = at(clocks[i]);
		long long beat = (now + l - start[i]) / (10 * MS) * (10 * MS) + start[i];
		long long off = late(every[i], clocks[i], beat);
		check(off < 2 * MS || off > 8 * MS, "clock %d: %lld ns off its beat", clocks[i], off);
	}
	check(told(set, "settime flags", 8) == (ABS | SET) && told(idle, "settime flags", 8) == (ABS | SET) && told(forever, "settime flags", 8) == (ABS | SET));
	check(ticks(set) == 0 && ticks(forever) == 0 && ticks(idle) == 0);
	l = left(set, NULL);
	check(l > 2000 * SECOND && l < 3000 * SECOND, "%lld", l);
	check(left(forever, NULL) > 1000000000 * SECOND, "%lld", left(forever, NULL));
	check(left(idle, NULL) == 0);
	return finish();
}
