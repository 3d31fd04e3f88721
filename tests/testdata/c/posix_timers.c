/* POSIX timers: ids, also with gaps; clocks, ways to tell, time left, interval; an
 * unset one; one that overran; one in a child; interval timers and alarm. */
#include "kids.h"
#include <sys/time.h>
#include <time.h>

static timer_t make(clockid_t clock, int notify, int sig, int value, double first, double every)
{
	struct sigevent e = {.sigev_notify = notify, .sigev_signo = sig, .sigev_value.sival_int = value};
	struct itimerspec it = {{every, (every - (long)every) * 1e9}, {first, (first - (long)first) * 1e9}};
	int id;

	if (notify == SIGEV_THREAD_ID)
		e._sigev_un._tid = syscall(SYS_gettid);
	must(syscall(SYS_timer_create, clock, &e, &id) == 0);
	must(syscall(SYS_timer_settime, id, 0, &it, NULL) == 0);
	return (timer_t)(long)id;
}

static void left(timer_t t, double least, double most, double every)
{
	struct itimerspec it;

	check(syscall(SYS_timer_gettime, (int)(long)t, &it) == 0, "timer %ld: %s", (long)t, strerror(errno));
	double v = it.it_value.tv_sec + it.it_value.tv_nsec / 1e9, i = it.it_interval.tv_sec + it.it_interval.tv_nsec / 1e9;
	check(v >= least && v <= most && i > every - 0.001 && i < every + 0.001, "timer %ld: %f every %f", (long)t, v, i);
}

static void child(int arg)
{
	timer_t t = make(CLOCK_MONOTONIC, SIGEV_NONE, 0, 0, 500, 3);

	wait_restored();
	left(t, 400, 500, 3);
}

int main(void)
{
	timer_t gone[2], t[6];
	sigset_t set;
	siginfo_t si;
	struct timespec limit = {5, 0};
	struct itimerval it = {{3, 0}, {100, 0}}, now;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 2);
	sigaddset(&set, SIGRTMIN + 3);
	sigaddset(&set, SIGRTMIN + 4);
	must(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	t[0] = make(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN + 2, 123, 1000, 7);
	gone[0] = make(CLOCK_REALTIME, SIGEV_NONE, 0, 0, 9, 0);
	t[1] = make(CLOCK_REALTIME, SIGEV_NONE, 0, 0, 300, 0);
	gone[1] = make(CLOCK_REALTIME, SIGEV_NONE, 0, 0, 9, 0);
	t[2] = make(CLOCK_BOOTTIME, SIGEV_THREAD_ID, SIGRTMIN + 3, 5, 4, 0);
	t[3] = make(CLOCK_PROCESS_CPUTIME_ID, SIGEV_SIGNAL, SIGRTMIN + 2, 0, 600, 0);
	t[4] = make(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN + 2, 0, 0, 0);
	t[5] = make(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN + 4, 8, 0.001, 0.001);
	for (int i = 0; i < 2; i++)
		must(syscall(SYS_timer_delete, (int)(long)gone[i]) == 0);
	must(setitimer(ITIMER_VIRTUAL, &it, NULL) == 0 && setitimer(ITIMER_PROF, &it, NULL) == 0);
	alarm(1000);
	start_kid(child, 0);
	save_me();
	left(t[0], 900, 1000, 7);
	left(t[1], 200, 300, 0);
	left(t[3], 590, 600, 0);
	left(t[4], 0, 0, 0);
	for (int i = 0; i < 2; i++) {
		struct itimerspec x;
		check(syscall(SYS_timer_gettime, (int)(long)gone[i], &x) == -1 && errno == EINVAL);
	}
	sigset_t one;
	sigemptyset(&one);
	sigaddset(&one, SIGRTMIN + 4);
	for (int i = 0; i < 3; i++)
		check(sigtimedwait(&one, &si, &limit) == SIGRTMIN + 4 && si.si_code == SI_TIMER && si.si_value.sival_int == 8);
	sigdelset(&set, SIGRTMIN + 4);
	check(sigtimedwait(&set, &si, &limit) == SIGRTMIN + 3 && si.si_value.sival_int == 5, "the timer of a thread does not end");
	for (int which = ITIMER_VIRTUAL; which <= ITIMER_PROF; which++)
		check(getitimer(which, &now) == 0 && now.it_value.tv_sec >= 95 && now.it_value.tv_sec <= 100 && now.it_interval.tv_sec == 3, "%ld", (long)now.it_value.tv_sec);
	int a = alarm(0);
	check(a > 900 && a <= 1000, "%d", a);
	finish_kids();
	return finish();
}
