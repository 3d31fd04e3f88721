/* The monotonic and the boot time clock never go back and keep their distance, in the vdso as in the kernel; timers, timerfds and sleeps for an absolute time on them end, and not before it. With two numbers it is in a time namespace that is so many seconds ahead */
#include "check.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif
#define SECOND 1000000000LL

static long long at(int clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * SECOND + t.tv_nsec;
}

static long long kernel_at(int clock)
{
	struct timespec t;

	syscall(SYS_clock_gettime, clock, &t);
	return t.tv_sec * SECOND + t.tv_nsec;
}

struct view { long long mono, boot, real; };

/* look reads all of them at one moment. */
static struct view look(void)
{
	struct view v;

	do
		v = (struct view){at(CLOCK_MONOTONIC), at(CLOCK_BOOTTIME), at(CLOCK_REALTIME)};
	while (at(CLOCK_MONOTONIC) - v.mono > SECOND / 5000);
	return v;
}

static struct timespec spec(long long ns)
{
	return (struct timespec){ns / SECOND, ns % SECOND};
}

static long long until;
static volatile int slept;

static void *sleeper(void *arg)
{
	struct timespec t = spec(until);

	check(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == 0);
	check(at(CLOCK_MONOTONIC) >= until);
	slept = 1;
	return NULL;
}

static timer_t start_timer(int clock, int sig, long long when)
{
	struct sigevent e = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = sig};
	struct itimerspec s = {.it_value = spec(when)};
	timer_t t;

	must(timer_create(clock, &e, &t) == 0);
	must(timer_settime(t, TIMER_ABSTIME, &s, NULL) == 0);
	return t;
}

static void await_timer(timer_t t, int clock, int sig, long long when)
{
	struct timespec limit = {60};
	struct itimerspec left;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	check(timer_gettime(t, &left) == 0 && left.it_value.tv_sec < 60, "%lld s left", (long long)left.it_value.tv_sec);
	check(sigtimedwait(&set, NULL, &limit) == sig);
	check(at(clock) >= when, "%lld ns early", when - at(clock));
}

static int start_timerfd(int clock, long long when)
{
	struct itimerspec s = {.it_value = spec(when)};
	int fd = timerfd_create(clock, 0);

	must(fd >= 0 && timerfd_settime(fd, TFD_TIMER_ABSTIME, &s, NULL) == 0);
	return fd;
}

static void await_timerfd(int fd, int clock, long long when)
{
	struct itimerspec left;
	uint64_t n;

	check(timerfd_gettime(fd, &left) == 0 && left.it_value.tv_sec < 60, "%lld s left", (long long)left.it_value.tv_sec);
	check(read(fd, &n, sizeof n) == sizeof n && n == 1);
	check(at(clock) >= when, "%lld ns early", when - at(clock));
}

/* ahead goes on in a child in a time namespace. */
static void ahead(const char *mono, const char *boot)
{
	FILE *f;
	int status, pid;

	must(unshare(CLONE_NEWTIME) == 0);
	must((f = fopen("/proc/self/timens_offsets", "w")) != NULL);
	fprintf(f, "monotonic %s 0\nboottime %s 0\n", mono, boot);
	must(fclose(f) == 0);
	must((pid = fork()) >= 0);
	if (pid > 0) {
		must((f = fopen("pid", "w")) != NULL);
		fprintf(f, "%d\n", pid);
		must(fclose(f) == 0);
		waitpid(pid, &status, 0);
		exit(0);
	}
	must(setsid() > 0);
	while (access("pid", F_OK))
		usleep(1000);
}

int main(int argc, char **argv)
{
	long long boot_until, lost = 0;
	struct view now, last;
	timer_t mono_timer, boot_timer;
	pthread_t thread;
	sigset_t set;
	FILE *f;

	if (argc > 2)
		ahead(argv[1], argv[2]);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	last = look();
	until = last.mono + 3 * SECOND;
	boot_until = last.boot + 3 * SECOND;
	mono_timer = start_timer(CLOCK_MONOTONIC, SIGUSR1, until);
	boot_timer = start_timer(CLOCK_BOOTTIME, SIGUSR2, boot_until);
	must(pthread_create(&thread, NULL, sleeper, NULL) == 0);

	int mono_fd = start_timerfd(CLOCK_MONOTONIC, until + 1), boot_fd = start_timerfd(CLOCK_BOOTTIME, boot_until + 1);

	printf("ready\n");
	fflush(stdout);
	last = look();
	while (access("go", F_OK)) {
		long long before = kernel_at(CLOCK_MONOTONIC), between = at(CLOCK_MONOTONIC), after = kernel_at(CLOCK_MONOTONIC);

		check(before <= between && between <= after, "%lld %lld %lld", before, between, after);
		now = look();
		check(now.mono >= last.mono && now.boot >= last.boot, "%lld %lld", now.mono - last.mono, now.boot - last.boot);
		check(llabs((now.boot - now.mono) - (last.boot - last.mono)) < SECOND / 100, "%lld", (now.boot - now.mono) - (last.boot - last.mono));
		lost += (now.real - last.real) - (now.mono - last.mono);
		last = now;
		usleep(1000);
	}
	/* How much less than the time of day the clock went on; it may have seen the file at once. */
	now = look();
	lost += (now.real - last.real) - (now.mono - last.mono);
	must((f = fopen("lost", "w")) != NULL);
	fprintf(f, "%lld\n", lost / 1000000);
	must(fclose(f) == 0);

	await_timer(mono_timer, CLOCK_MONOTONIC, SIGUSR1, until);
	await_timer(boot_timer, CLOCK_BOOTTIME, SIGUSR2, boot_until);
	await_timerfd(mono_fd, CLOCK_MONOTONIC, until + 1);
	await_timerfd(boot_fd, CLOCK_BOOTTIME, boot_until + 1);
	for (int i = 0; i < 6000 && !slept; i++)
		usleep(10000);
	check(slept);
	return finish();
}
