/* A child and a thread have no_new_privs, which belongs to a thread; the first
 * thread of the parent and another child do not have it. */
#include "kids.h"
#include <pthread.h>
#include <sys/prctl.h>

static volatile int set, restored, seen = -1;

static void *thread(void *arg)
{
	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	set = 1;
	while (!restored)
		usleep(1000);
	seen = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
	return NULL;
}

static void child(int want)
{
	if (want)
		must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
	wait_restored();
	check(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == want);
}

int main(void)
{
	pthread_t t;

	start_kid(child, 0);
	start_kid(child, 1);
	must(pthread_create(&t, NULL, thread, NULL) == 0);
	while (!set)
		usleep(1000);
	save_me();
	restored = 1;
	pthread_join(t, NULL);
	check(seen == 1, "the thread has %d", seen);
	check(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0);
	finish_kids();
	return finish();
}
