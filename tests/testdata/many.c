/* argv[2] threads ("threads") or processes ("processes", one parent with all the
 * others as children) that wait for the file "go" or to be killed. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void *rest(void *arg)
{
	for (;;)
		pause();
	return arg;
}

int main(int argc, char **argv)
{
	int n = atoi(argv[2]), threads = argv[1][0] == 't', ended = 0;
	pid_t *pid = calloc(n, sizeof *pid);
	pthread_attr_t small;
	pthread_t t;

	if (pthread_attr_init(&small) || pthread_attr_setstacksize(&small, 64 << 10))
		return 2;
	for (int i = 1; i < n; i++) {
		if (threads && pthread_create(&t, &small, rest, NULL))
			return 2;
		if (!threads && (pid[i] = fork()) == 0)
			rest(NULL);
		if (pid[i] < 0)
			return 2;
	}
	printf("ready\n");
	fflush(stdout);
	while (access("go", F_OK))
		usleep(10000);
	for (int i = 1; i < n && !threads; i++) {
		int status;

		kill(pid[i], SIGTERM);
		ended += waitpid(pid[i], &status, 0) == pid[i] && WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM;
	}
	printf(threads || ended == n - 1 ? "pass\n" : "%d of them ended\n", ended);
	return 0;
}
