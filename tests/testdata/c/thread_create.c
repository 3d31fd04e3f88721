/* After the restore threads are made, cancelled and detached; rseq works. */
#include "threads.h"
#include <sys/rseq.h>

static void *more(void *arg) { return (void *)((long)arg * 2); }

static void *forever(void *arg)
{
	ready++;
	for (;;)
		pause();
	return arg;
}

static void body(int i)
{
	wait_restored();
	struct rseq *r = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
	check(__rseq_size > 0 && (int)r->cpu_id >= 0 && (int)r->cpu_id < 4096, "cpu %d", (int)r->cpu_id);
}

int main(void)
{
	pthread_t t, c;
	void *got;

	start_thread(body, 0);
	must(pthread_create(&c, NULL, forever, NULL) == 0);
	while (ready < 2)
		usleep(1000);
	save_me();
	for (long i = 1; i <= 20; i++) {
		check(pthread_create(&t, NULL, more, (void *)i) == 0);
		check(pthread_join(t, &got) == 0 && got == (void *)(2 * i));
	}
	check(pthread_create(&t, NULL, more, NULL) == 0 && pthread_detach(t) == 0);
	check(pthread_cancel(c) == 0 && pthread_join(c, &got) == 0 && got == PTHREAD_CANCELED);
	finish_threads();
	return finish();
}
