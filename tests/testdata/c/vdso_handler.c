/* A signal handler that interrupted the vdso returns into it, and the clock it was asked for is right */
#include "check.h"
#include <signal.h>
#include <sys/auxv.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>

#define VDSO_BYTES 0x2000
#define SECOND 1000000000LL

static volatile int inside;

static void interrupted(int sig, siginfo_t *info, void *context)
{
	ucontext_t *c = context;

	(void)sig;
	(void)info;
	if (inside || c->uc_mcontext.gregs[REG_RIP] - getauxval(AT_SYSINFO_EHDR) >= VDSO_BYTES)
		return;
	inside = 1;
	save_me();
}

static long long at(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * SECOND + t.tv_nsec;
}

int main(void)
{
	struct sigaction sa = {.sa_sigaction = interrupted, .sa_flags = SA_SIGINFO};
	struct itimerval often = {{0, 500}, {0, 500}}, never = {{0, 0}, {0, 0}};
	long long last = at(), now;

	must(sigaction(SIGALRM, &sa, NULL) == 0);
	must(setitimer(ITIMER_REAL, &often, NULL) == 0);
	while (!inside) {
		now = at();
		check(now >= last, "the time goes back from %lld to %lld", last, now);
		last = now;
	}
	must(setitimer(ITIMER_REAL, &never, NULL) == 0);
	return finish();
}
