/* Forks, makes threads and waits for them all the time; every child and every
 * thread counts. argv[1] is how many of each there will be. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static _Atomic long *counts;

static void *thread(void *arg)
{
	counts[1]++;
	return arg;
}

int main(int argc, char **argv)
{
	long n = atol(argv[1]), children = 0, threads = 0, bad = 0;

	counts = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (counts == MAP_FAILED)
		return 2;
	printf("ready\n");
	fflush(stdout);
	for (long i = 0; i < n; i++) {
		pthread_t t[2];
		int status, made = 0;
		pid_t pid = fork();

		if (pid == 0) {
			if (fork() == 0) { /* its own child */
				counts[0]++;
				_exit(7);
			}
			if (wait(&status) < 0 || WEXITSTATUS(status) != 7)
				_exit(8);
			counts[0]++;
			_exit(5);
		}
		bad += pid < 0;
		for (int k = 0; k < 2; k++)
			made += pthread_create(&t[k], NULL, thread, NULL) == 0;
		for (int k = 0; k < made; k++)
			pthread_join(t[k], NULL);
		threads += made;
		if (waitpid(pid, &status, 0) == pid)
			children += 2, bad += WEXITSTATUS(status) != 5;
		else
			bad++;
	}
	bad += children != counts[0] || threads != counts[1] || children != 2 * n || threads != 2 * n;
	printf("sum %ld %ld %ld %ld, %ld bad\n", children, counts[0], threads, counts[1], bad);
	return bad != 0;
}
