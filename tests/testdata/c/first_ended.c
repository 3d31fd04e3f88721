/* The first thread has ended by pthread_exit, and three go on: with their names, masks,
 * signals that wait for them and for the process, an action, timers that the first one
 * made, for the process and for a thread, its CPU time, and an interval timer. */
#include "first_ended.h"
#include <sys/prctl.h>
#include <sys/time.h>
#include <time.h>

static pid_t of[3];
static volatile sig_atomic_t handled;
static int timer[3];

static void handler(int sig) { handled = gettid(); }

static void block(int how, int sig)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	must(pthread_sigmask(how, &set, NULL) == 0);
}

static siginfo_t take(int sig)
{
	siginfo_t si = {0};
	sigset_t set;
	struct timespec limit = {5, 0};

	sigemptyset(&set);
	sigaddset(&set, sig);
	check(sigtimedwait(&set, &si, &limit) == sig, "signal %d: %s", sig, strerror(errno));
	return si;
}

static void body(int i)
{
	char name[16];
	siginfo_t si = {.si_code = SI_QUEUE, .si_value.sival_int = i};

	snprintf(name, sizeof name, "thread-%d", i);
	prctl(PR_SET_NAME, name);
	block(SIG_BLOCK, SIGRTMIN + i);
	of[i] = gettid();
	must(syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGRTMIN + i, &si) == 0);
	wait_restored();
	prctl(PR_GET_NAME, name);
	check(name[7] == '0' + i && gettid() == of[i], "%s", name);
	si = take(SIGRTMIN + i);
	check(si.si_code == SI_QUEUE && si.si_value.sival_int == i);
	if (i == 2) { /* only this thread gets its timer's */
		block(SIG_BLOCK, SIGRTMIN + 5);
		si = take(SIGRTMIN + 5);
		check(si.si_code == SI_TIMER && si.si_value.sival_int == 55);
	}
}

static int make(clockid_t clock, int notify, int sig, int value, pid_t tid, int first)
{
	struct sigevent e = {.sigev_notify = notify, .sigev_signo = sig, .sigev_value.sival_int = value};
	struct itimerspec it = {{0}, {first, 0}};
	int id;

	e._sigev_un._tid = tid;
	must(syscall(SYS_timer_create, clock, &e, &id) == 0 && syscall(SYS_timer_settime, id, 0, &it, NULL) == 0);
	return id;
}

static long left(int id)
{
	struct itimerspec it = {0};

	check(syscall(SYS_timer_gettime, id, &it) == 0, "timer %d: %s", id, strerror(errno));
	return it.it_value.tv_sec;
}

static void *goes_on(void *arg)
{
	siginfo_t si;
	struct itimerval it;

	while (!first_ended(getpid(), 0))
		usleep(500);
	save_me();
	check(first_ended(getpid(), 0), "%lld", stat_field(getpid(), 52));
	si = take(SIGUSR2); /* sent by kill(2), which only a process's first thread could do again */
	check(si.si_code == SI_USER && si.si_pid == getpid(), "%d from %d", si.si_code, si.si_pid);
	si = take(SIGRTMIN + 6);
	check(si.si_code == SI_QUEUE && si.si_value.sival_int == 66);
	check(left(timer[0]) > 900 && left(timer[1]) > 500);
	check(getitimer(ITIMER_REAL, &it) == 0 && it.it_value.tv_sec > 600);
	block(SIG_BLOCK, SIGUSR1);
	finish_threads();
	block(SIG_UNBLOCK, SIGUSR1);
	kill(getpid(), SIGUSR1);
	for (int i = 0; i < 5000 && !handled; i++)
		usleep(1000);
	check(handled && handled != getpid(), "%d", handled);
	exit(finish());
	return arg;
}

int main(void)
{
	pthread_t t;
	union sigval v = {.sival_int = 66};
	struct itimerval it = {{0}, {1000, 0}};

	signal(SIGUSR1, handler);
	block(SIG_BLOCK, SIGUSR2);
	block(SIG_BLOCK, SIGRTMIN + 5);
	block(SIG_BLOCK, SIGRTMIN + 6);
	for (int i = 0; i < 3; i++)
		start_thread(body, i);
	must(kill(getpid(), SIGUSR2) == 0 && sigqueue(getpid(), SIGRTMIN + 6, v) == 0);
	timer[0] = make(CLOCK_MONOTONIC, SIGEV_SIGNAL, SIGRTMIN + 7, 0, 0, 1000);
	timer[1] = make(CLOCK_PROCESS_CPUTIME_ID, SIGEV_SIGNAL, SIGRTMIN + 7, 0, 0, 600);
	timer[2] = make(CLOCK_MONOTONIC, SIGEV_THREAD_ID, SIGRTMIN + 5, 55, of[2], 2);
	must(setitimer(ITIMER_REAL, &it, NULL) == 0);
	prctl(PR_SET_NAME, "the first");
	must(pthread_create(&t, NULL, goes_on, NULL) == 0);
	pthread_exit(NULL);
}
