/* A signal mask for each thread. */
#include "threads.h"

static void body(int i)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + i);
	sigaddset(&set, SIGUSR1 + 2 * (i % 2)); /* USR1 or SEGV's neighbour USR2 */
	must(pthread_sigmask(SIG_SETMASK, &set, NULL) == 0);
	wait_restored();
	sigset_t now;
	must(pthread_sigmask(SIG_SETMASK, NULL, &now) == 0);
	for (int s = 1; s <= SIGRTMAX; s++)
		check(sigismember(&now, s) == sigismember(&set, s), "thread %d, signal %d", i, s);
}

int main(void)
{
	for (int i = 0; i < 6; i++)
		start_thread(body, i);
	save_me();
	sigset_t now;
	must(sigprocmask(SIG_SETMASK, NULL, &now) == 0);
	check(!sigismember(&now, SIGUSR1) && !sigismember(&now, SIGRTMIN));
	finish_threads();
	return finish();
}
