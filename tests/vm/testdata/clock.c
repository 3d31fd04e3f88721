/* Four threads and a signal handler ask the vdso for the time and the CPU all the time, and compare what it says with the kernel's own answers, until there is a file "go" */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define THREADS 4

static volatile int end;
static volatile long handled;

static void wrong(const char *what, long long a, long long b)
{
	printf("%s: %lld, but the kernel says %lld\n", what, a, b);
	fflush(stdout);
	_exit(1);
}

static long long ns(struct timespec t) { return t.tv_sec * 1000000000LL + t.tv_nsec; }

static long long kernel(int clock)
{
	struct timespec t;

	syscall(SYS_clock_gettime, clock, &t);
	return ns(t);
}

/* clocks: what the vdso says lies between two answers of the kernel. */
static void clocks(void)
{
	static const int ids[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI, CLOCK_MONOTONIC_RAW};
	struct timespec t, mine, its;
	struct timeval tv;

	for (int i = 0; i < (int)(sizeof ids / sizeof *ids); i++) {
		long long before = kernel(ids[i]);
		clock_gettime(ids[i], &t);
		long long after = kernel(ids[i]);
		if (ns(t) < before)
			wrong("a clock is behind", ns(t), before);
		if (ns(t) > after)
			wrong("a clock is ahead", ns(t), after);
	}
	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	if (ns(t) > kernel(CLOCK_MONOTONIC))
		wrong("the coarse clock", ns(t), kernel(CLOCK_MONOTONIC));
	long long before = kernel(CLOCK_REALTIME) / 1000;
	gettimeofday(&tv, NULL);
	long long us = tv.tv_sec * 1000000LL + tv.tv_usec;
	if (us < before || us > kernel(CLOCK_REALTIME) / 1000)
		wrong("gettimeofday", us, before);
	long long s = time(NULL); /* which is coarse, too */
	if (llabs(s - kernel(CLOCK_REALTIME) / 1000000000) > 1)
		wrong("time", s, kernel(CLOCK_REALTIME));
	clock_getres(CLOCK_MONOTONIC_COARSE, &mine);
	syscall(SYS_clock_getres, CLOCK_MONOTONIC_COARSE, &its);
	if (ns(mine) != ns(its))
		wrong("clock_getres", ns(mine), ns(its));
	unsigned cpu = -1, node = -1, kernels;
	if (getcpu(&cpu, &node) || cpu > 4096)
		wrong("getcpu", cpu, 0);
	if (syscall(SYS_getcpu, &kernels, NULL, NULL) || sched_getcpu() < 0)
		wrong("sched_getcpu", sched_getcpu(), kernels);
}

static void alarmed(int sig)
{
	struct timespec t;

	(void)sig;
	clock_gettime(CLOCK_MONOTONIC, &t);
	handled++;
}

static void *run(void *arg)
{
	while (!end)
		clocks();
	return arg;
}

int main(void)
{
	struct sigaction sa = {.sa_handler = alarmed, .sa_flags = SA_RESTART};
	struct itimerval often = {{0, 2000}, {0, 2000}};
	pthread_t threads[THREADS];

	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, run, NULL);
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	puts("ready");
	fflush(stdout);
	while (access("go", F_OK))
		clocks();
	long before = handled;
	while (handled < before + 3)
		clocks();
	end = 1;
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	puts("pass");
	return 0;
}
