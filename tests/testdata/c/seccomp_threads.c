/* One thread of three has a seccomp filter, the others have none. */
#include "filter.h"
#include "proc.h"
#include <pthread.h>

static volatile int ready, restored;
static int error[2];
static char *mode[2];

static void *thread(void *arg)
{
	int i = arg != NULL;

	if (i == 0)
		must(deny(SYS_getppid, 77, 0) == 0);
	__atomic_add_fetch(&ready, 1, __ATOMIC_SEQ_CST);
	while (!restored)
		usleep(1000);
	error[i] = error_of(SYS_getppid);
	mode[i] = status_of(gettid(), "Seccomp");
	return NULL;
}

int main(void)
{
	pthread_t t[2];

	for (int i = 0; i < 2; i++)
		must(pthread_create(&t[i], NULL, thread, i ? "other" : NULL) == 0);
	while (ready < 2)
		usleep(1000);
	save_me();
	restored = 1;
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	check(error[0] == 77 && SAME(mode[0], "2"), "%d, mode %s", error[0], mode[0]);
	check(error[1] == 0 && SAME(mode[1], "0"), "%d, mode %s", error[1], mode[1]);
	check(error_of(SYS_getppid) == 0 && SAME(status("Seccomp"), "0"));
	return finish();
}
