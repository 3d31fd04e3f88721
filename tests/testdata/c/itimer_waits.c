/* An interval timer whose signal waits: when that is taken the next ones come. */
#include "kids.h"
#include <sys/time.h>
#include <time.h>

static const struct itimerval each = {{0, 20000}, {0, 20000}};
static const struct timespec limit = {5, 0};

static void begin(sigset_t *set)
{
	sigset_t waiting;

	sigemptyset(set);
	sigaddset(set, SIGALRM);
	must(sigprocmask(SIG_BLOCK, set, NULL) == 0 && setitimer(ITIMER_REAL, &each, NULL) == 0);
	do
		must(sigpending(&waiting) == 0);
	while (!sigismember(&waiting, SIGALRM));
}

static void goes_on(const sigset_t *set)
{
	struct itimerval now;

	for (int i = 0; i < 3; i++)
		check(sigtimedwait(set, NULL, &limit) == SIGALRM, "signal %d does not come", i);
	check(getitimer(ITIMER_REAL, &now) == 0 && now.it_interval.tv_usec == each.it_interval.tv_usec, "every %ld us", (long)now.it_interval.tv_usec);
}

static void child(int arg)
{
	sigset_t set;

	begin(&set);
	wait_restored();
	goes_on(&set);
}

int main(void)
{
	sigset_t set;

	start_kid(child, 0);
	begin(&set);
	save_me();
	goes_on(&set);
	finish_kids();
	return finish();
}
