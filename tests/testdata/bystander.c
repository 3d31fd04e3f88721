/* Notices what is done to it: waits with every signal blocked, and prints "pass" if
 * none came, it never left its processor, and its nice value is the same.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

int main(void)
{
	cpu_set_t before, after;
	sigset_t all, waiting;
	int nice = getpriority(PRIO_PROCESS, 0);
	char c;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	sched_getaffinity(0, sizeof before, &before);
	printf("ready\n");
	fflush(stdout);
	if (read(0, &c, 1) < 0)
		perror("read");
	sched_getaffinity(0, sizeof after, &after);
	sigpending(&waiting);
	for (int sig = 1; sig < 65; sig++)
		if (sigismember(&waiting, sig) == 1)
			printf("signal %d came\n", sig);
	if (!CPU_EQUAL(&before, &after))
		printf("its affinity has changed\n");
	if (getpriority(PRIO_PROCESS, 0) != nice)
		printf("its nice value has changed\n");
	printf("pass\n");
	return 0;
}
