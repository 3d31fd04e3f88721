/* A robust mutex whose owner ends after the restore; a priority-inheriting one
 * for which a thread waits. */
#include "threads.h"

static pthread_mutex_t robust, pi;
static volatile int got_pi;

static void owner(int i)
{
	must(pthread_mutex_lock(&robust) == 0);
	wait_restored();
}

static void holder(int i)
{
	must(pthread_mutex_lock(&pi) == 0);
	wait_restored();
	check(!got_pi && pthread_mutex_unlock(&pi) == 0);
}

static void waiter(int i)
{
	ready++;
	check(pthread_mutex_lock(&pi) == 0);
	got_pi = 1;
	check(restored && pthread_mutex_unlock(&pi) == 0);
}

int main(void)
{
	pthread_mutexattr_t a;

	must(pthread_mutexattr_init(&a) == 0 && pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST) == 0 && pthread_mutex_init(&robust, &a) == 0);
	must(pthread_mutexattr_init(&a) == 0 && pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT) == 0 && pthread_mutex_init(&pi, &a) == 0);
	start_thread(owner, 0);
	start_thread(holder, 0);
	start_thread(waiter, 0);
	usleep(50000);
	save_me();
	check(pthread_mutex_trylock(&robust) == EBUSY);
	finish_threads();
	check(got_pi && pthread_mutex_lock(&robust) == EOWNERDEAD);
	return finish();
}
