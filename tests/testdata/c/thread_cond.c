/* Threads that wait for a condition, a mutex, a barrier, a semaphore, a lock. */
#include "threads.h"
#include <semaphore.h>

static pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER, held = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t c = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t b;
static pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
static sem_t s;
static volatile int signalled, through[5];

static void waits(int i)
{
	ready++;
	switch (i) {
	case 0:
		pthread_mutex_lock(&m);
		while (!signalled)
			pthread_cond_wait(&c, &m);
		pthread_mutex_unlock(&m);
		break;
	case 1:
		pthread_mutex_lock(&held);
		break;
	case 2:
		pthread_barrier_wait(&b);
		break;
	case 3:
		while (sem_wait(&s) == -1 && errno == EINTR)
			;
		break;
	case 4:
		pthread_rwlock_wrlock(&rw);
	}
	through[i] = 1;
}

int main(void)
{
	must(pthread_barrier_init(&b, NULL, 2) == 0 && sem_init(&s, 0, 0) == 0 && pthread_mutex_lock(&held) == 0 && pthread_rwlock_rdlock(&rw) == 0);
	for (int i = 0; i < 5; i++)
		start_thread(waits, i);
	usleep(50000);
	save_me();
	usleep(100000);
	for (int i = 0; i < 5; i++)
		check(!through[i], "thread %d did not wait", i);
	pthread_mutex_lock(&m);
	signalled = 1;
	pthread_cond_signal(&c);
	pthread_mutex_unlock(&m);
	pthread_mutex_unlock(&held);
	pthread_barrier_wait(&b);
	sem_post(&s);
	pthread_rwlock_unlock(&rw);
	finish_threads();
	for (int i = 0; i < 5; i++)
		check(through[i], "thread %d", i);
	return finish();
}
