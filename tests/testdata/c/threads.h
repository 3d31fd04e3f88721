/* Threads of a program: each sets its state up, calls wait_restored(), checks
 * its state and ends. */
#ifndef THREADS_H
#define THREADS_H
#include "check.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>

#define MAX_THREADS 32
#define gettid() ((pid_t)syscall(SYS_gettid))

static pthread_t threads[MAX_THREADS];
static int nthreads;
static volatile int ready, restored;

struct start { void (*body)(int); int arg; };

static void *run_thread(void *p)
{
	struct start s = *(struct start *)p;

	free(p);
	s.body(s.arg);
	return NULL;
}

/* start_thread returns when the thread is ready. */
static inline void start_thread(void (*body)(int), int arg)
{
	struct start *s = malloc(sizeof *s);
	int want = ready + 1;

	*s = (struct start){body, arg};
	must(nthreads < MAX_THREADS && pthread_create(&threads[nthreads++], NULL, run_thread, s) == 0);
	while (ready < want)
		usleep(500);
}

static inline void wait_restored(void)
{
	__sync_fetch_and_add(&ready, 1);
	while (!restored)
		usleep(500);
}

static inline void finish_threads(void)
{
	restored = 1;
	for (int i = 0; i < nthreads; i++)
		check(pthread_join(threads[i], NULL) == 0);
}
#endif
