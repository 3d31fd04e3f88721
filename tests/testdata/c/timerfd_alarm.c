/* Timerfds on the clocks that wake the system, relative and absolute, one that expired */
#include "timerfd.h"

int main(void)
{
	static const int clocks[] = {CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM}, plain[] = {CLOCK_REALTIME, CLOCK_BOOTTIME};
	int rel[2], abs[2], over[2];
	long long when[2], every;

	for (int i = 0; i < 2; i++) {
		when[i] = at(plain[i]) + 3000 * SECOND;
		rel[i] = timer(clocks[i], 0, 2000 * SECOND, 3 * SECOND);
		abs[i] = timer(clocks[i], TFD_TIMER_ABSTIME, when[i], 0);
		over[i] = timer(clocks[i], 0, 1, 0);
	}
	usleep(20000);
	save_me();

	for (int i = 0; i < 2; i++) {
		long long l = left(rel[i], &every), off;

		check(l > 1500 * SECOND && l <= 2000 * SECOND && every == 3 * SECOND, "%lld every %lld", l, every);
		off = late(abs[i], plain[i], when[i]);
		check(off >= 0 && off < 20 * MS, "%lld ns off", off);
		check(told(abs[i], "clockid", 10) == clocks[i] && told(abs[i], "settime flags", 8) == TFD_TIMER_ABSTIME);
		check(ticks(over[i]) == 1 && ticks(over[i]) == 0);
	}
	return finish();
}
