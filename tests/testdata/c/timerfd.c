/* Timerfds: the time that is left on each clock, intervals, those not armed or expired, flags, which descriptors and processes share one, and a thread and an epoll that wait for the next expiration */
#include "kids.h"
#include "epoll.h"
#include "timerfd.h"
#include <pthread.h>

static int shared, sleeping;
static volatile int got;

static int same(int a, int b)
{
	return syscall(SYS_kcmp, getpid(), getpid(), 0, a, b) == 0;
}

static void *reader(void *arg)
{
	uint64_t n;

	got = read(sleeping, &n, sizeof n) == sizeof n ? (int)n : -1;
	return NULL;
}

static void child(int arg)
{
	wait_restored();
	check(left(shared, NULL) > 3000 * SECOND);
	set_timer(shared, 0, 7000 * SECOND, 0);
}

int main(void)
{
	static const int clocks[] = {CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME};
	int running[3], twin, other, never, stopped, half, once, read_out, soon, ep, n;
	long long every;
	struct itimerspec longest = {{0}, {INT64_MAX, 0}};
	pthread_t thread;

	for (int i = 0; i < 3; i++)
		running[i] = timer(clocks[i], 0, (1000 * i + 1000) * SECOND + 5, (i + 1) * SECOND + i);
	twin = dup(running[0]);
	must((other = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC)) >= 0);
	set_timer(other, 0, 1000 * SECOND, 0);
	shared = timer(CLOCK_BOOTTIME, 0, 3600 * SECOND, 0);
	must((never = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK)) >= 0);
	stopped = timer(CLOCK_MONOTONIC, 0, 5 * SECOND, 5 * SECOND);
	set_timer(stopped, 0, 0, 0);
	half = timer(CLOCK_MONOTONIC, 0, 0, 9 * SECOND);
	once = timer(CLOCK_MONOTONIC, 0, 1, 0);
	read_out = timer(CLOCK_REALTIME, 0, 1, 0);
	while (ticks(read_out) == 0)
		usleep(1000);
	int most = timer(CLOCK_MONOTONIC, 0, 0, 0);
	must(timerfd_settime(most, 0, &longest, NULL) == 0);
	must((sleeping = timerfd_create(CLOCK_MONOTONIC, 0)) >= 0);
	soon = timer(CLOCK_MONOTONIC, 0, 0, 0);
	start_kid(child, 0);
	must((ep = epoll_create1(0)) >= 0 && watch(ep, once, EPOLLIN, 1) == 0 && watch(ep, soon, EPOLLIN | EPOLLET, 2) == 0 && watch(ep, never, EPOLLIN, 3) == 0);
	must(pthread_create(&thread, NULL, reader, NULL) == 0);
	usleep(20000);
	/* These two expire after the restore. */
	set_timer(sleeping, 0, 2 * SECOND, 0);
	set_timer(soon, 0, 2 * SECOND, 0);
	save_me();

	for (int i = 0; i < 3; i++) {
		long long l = left(running[i], &every), was = (1000 * i + 1000) * SECOND;

		check(l <= was + 5 && l > was - 200 * SECOND, "clock %d: %lld ns left", clocks[i], l);
		check(every == (i + 1) * SECOND + i, "clock %d: every %lld ns", clocks[i], every);
		check(told(running[i], "clockid", 10) == clocks[i] && ticks(running[i]) == 0);
		check(fcntl(running[i], F_GETFL) == (O_RDWR | O_NONBLOCK), "%#o", fcntl(running[i], F_GETFL));
		check(told(running[i], "settime flags", 8) == 0);
	}
	check(same(running[0], twin) && !same(running[0], other) && !same(running[0], running[1]));
	check(fcntl(other, F_GETFL) == O_RDWR && fcntl(other, F_GETFD) == FD_CLOEXEC && fcntl(twin, F_GETFD) == 0);
	check(left(never, &every) == 0 && every == 0 && ticks(never) == 0);
	check(left(stopped, &every) == 0 && every == 0 && ticks(stopped) == 0);
	check(left(half, &every) == 0 && every == 9 * SECOND && ticks(half) == 0, "%lld", every);
	check(left(read_out, NULL) == 0 && ticks(read_out) == 0);
	check(left(most, NULL) > (INT64_MAX / SECOND - 100000000) * SECOND, "%lld", left(most, NULL));
	check(event(ep, 1, NULL) == EPOLLIN);
	check(left(once, NULL) == 0 && ticks(once) == 1 && ticks(once) == 0);

	pthread_join(thread, NULL);
	check(got == 1, "%d", got);
	uint32_t seen = 0;
	check(within((seen |= event(ep, 2, &n)) != 0) && seen == EPOLLIN && n == 1, "%#x of %d", seen, n);
	check(ticks(soon) == 1 && left(soon, NULL) == 0);
	finish_kids();
	check(left(shared, NULL) > 6000 * SECOND, "the child has another");
	return finish();
}
