/* A thread waits in vfork for its child, which runs another program when there is a file
 * "go"; another thread starts a child later, and others just wait. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

static void *waits(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static void *starts(void *arg)
{
	usleep(50000);
	if (fork() == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		waits(NULL);
	}
	puts("ready");
	fflush(stdout);
	return waits(arg);
}

int main(void)
{
	pthread_t t;

	if (pthread_create(&t, NULL, waits, NULL) != 0 || pthread_create(&t, NULL, starts, NULL) != 0)
		return 2;
	if (vfork() == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (access("go", F_OK))
			usleep(1000);
		execl("/bin/sleep", "sleep", "1000", (char *)NULL);
		_exit(3);
	}
	waits(NULL);
}
