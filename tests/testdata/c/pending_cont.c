/* A SIGCONT that waits for the process, and one that waits for a thread, are not
 * lost, whatever comes after them in the restore: timers, credentials, limits */
#include "check.h"
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>

static sigset_t cont;
static const struct timespec none;

static void *wait_thread(void *arg)
{
	siginfo_t si;

	must(pthread_kill(pthread_self(), SIGCONT) == 0);
	*(int *)arg = 1;
	while (access("go", F_OK))
		usleep(1000);
	check(sigtimedwait(&cont, &si, &none) == SIGCONT && si.si_code == SI_USER, "of the thread");
	check(sigtimedwait(&cont, &si, &none) == SIGCONT && si.si_code == SI_QUEUE && si.si_value.sival_int == 42, "of the process");
	check(sigtimedwait(&cont, &si, &none) == -1 && errno == EAGAIN);
	return NULL;
}

int main(void)
{
	struct sigevent never = {.sigev_notify = SIGEV_NONE};
	struct rlimit limit = {100, 200};
	volatile int ready = 0;
	pthread_t thread;
	timer_t timer;

	sigemptyset(&cont);
	sigaddset(&cont, SIGCONT);
	must(sigprocmask(SIG_BLOCK, &cont, NULL) == 0);
	must(pthread_create(&thread, NULL, wait_thread, (void *)&ready) == 0);
	while (!ready)
		usleep(1000);
	must(timer_create(CLOCK_MONOTONIC, &never, &timer) == 0 && setrlimit(RLIMIT_CORE, &limit) == 0);
	must(prctl(PR_SET_TIMERSLACK, 60000) == 0 && setgroups(0, NULL) == 0 && setresgid(7, 7, 7) == 0 && setresuid(7, 7, 7) == 0);
	must(sigqueue(getpid(), SIGCONT, (union sigval){.sival_int = 42}) == 0);
	save_me();
	pthread_join(thread, NULL);
	check(prctl(PR_GET_TIMERSLACK) == 60000 && getuid() == 7);
	return finish();
}
