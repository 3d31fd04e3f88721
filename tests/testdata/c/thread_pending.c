/* Signals that wait for single threads, with what they carry, and one that waits
 * for the process. */
#include "threads.h"

static sigset_t set;

static void body(int i)
{
	siginfo_t si = {0};
	struct timespec none = {0};

	memset(&si, 0, sizeof si);
	si.si_code = SI_QUEUE;
	for (int k = 0; k < 3; k++) {
		si.si_value.sival_int = i * 10 + k;
		must(syscall(SYS_rt_tgsigqueueinfo, getpid(), gettid(), SIGRTMIN + 1, &si) == 0);
	}
	wait_restored();
	for (int k = 0; k < 3; k++) {
		check(sigtimedwait(&set, &si, &none) == SIGRTMIN + 1, "thread %d: %s", i, strerror(errno));
		check(si.si_code == SI_QUEUE && si.si_value.sival_int == i * 10 + k, "thread %d: %d", i, si.si_value.sival_int);
	}
}

int main(void)
{
	siginfo_t si;
	struct timespec none = {0};

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	must(pthread_sigmask(SIG_BLOCK, &set, NULL) == 0);
	for (int i = 1; i <= 4; i++)
		start_thread(body, i);
	save_me();
	finish_threads();
	check(sigtimedwait(&set, &si, &none) == -1 && errno == EAGAIN, "a thread's signal came to another");
	return finish();
}
