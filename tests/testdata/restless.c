/* Never stands still; argv[1] says how:
 *   exec   a second thread runs the program anew every millisecond, while others sleep
 *   first  the same, and the first thread ends just before that or just after the program began
 *   relay  detached threads: each starts the next and ends
 *   fork   the same with processes, which the first one takes in, and some children that just end
 *   vfork  threads that start programs with vfork
 *   all    a child of each kind
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char **args;

static void *sleeper(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static void *exec_again(void *arg)
{
	usleep(1000);
	execv("/proc/thread-self/exe", args); /* the first thread may have ended */
	_exit(3);
	return arg;
}

static void thread(void *(*f)(void *))
{
	pthread_t t;

	while (pthread_create(&t, NULL, f, NULL) != 0)
		usleep(100);
	pthread_detach(t);
}

static void *relay(void *arg)
{
	usleep(200);
	thread(relay);
	return arg;
}

static void *vforks(void *arg)
{
	for (;;) {
		pid_t pid = vfork();

		if (pid == 0) {
			execl("/proc/self/exe", args[0], "end", NULL);
			_exit(3);
		}
		waitpid(pid, NULL, 0);
		usleep(200);
	}
	return arg;
}

static void forks(void)
{
	while (fork() == 0) { /* the child goes on, its parent ends */
		usleep(500); /* or the subreaper can't keep up, and no id is free */
		if (fork() == 0)
			_exit(0);
	}
}

static int be(const char *kind)
{
	if (strcmp(kind, "end") == 0)
		return 0;
	if (strcmp(kind, "exec") == 0) {
		thread(sleeper);
		thread(sleeper);
		thread(exec_again);
	} else if (strcmp(kind, "first") == 0) {
		thread(sleeper);
		thread(exec_again);
		struct timespec now;
		clock_gettime(CLOCK_MONOTONIC, &now);
		usleep(now.tv_nsec / 1000 % 1200); /* at random */
		syscall(SYS_exit, 5);
	} else if (strcmp(kind, "relay") == 0) {
		thread(relay);
		thread(relay);
	} else if (strcmp(kind, "vfork") == 0) {
		thread(vforks);
		thread(vforks);
	} else if (strcmp(kind, "fork") == 0) {
		prctl(PR_SET_CHILD_SUBREAPER, 1);
		if (fork() == 0) {
			forks();
			_exit(0);
		}
		for (;;)
			if (wait(NULL) < 0)
				return 4; /* the relay broke off */
	}
	sleeper(NULL);
	return 0;
}

int main(int argc, char **argv)
{
	static char *kinds[] = { "exec", "relay", "fork", "vfork" };
	char *child[] = { argv[0], NULL, NULL };

	args = argv;
	if (argc != 2)
		return 2;
	if (strcmp(argv[1], "all") != 0)
		return be(argv[1]);
	for (int i = 0; i < 4; i++) {
		if (fork() == 0) {
			child[1] = kinds[i];
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			execv("/proc/self/exe", child);
			_exit(3);
		}
	}
	return be("sleep");
}
