/* Stopped children, one with threads, stay so until they are continued. */
#include "kids.h"
#include "proc.h"
#include <pthread.h>

static volatile int *went;

static void *thread(void *arg)
{
	for (;;) {
		usleep(1000);
		went[1 + (long)arg]++;
	}
	return NULL;
}

int main(void)
{
	pid_t pid[2];
	int status, before[5];

	went = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (long k = 0; k < 2; k++)
		if ((pid[k] = fork()) == 0) {
			pthread_t t;
			for (long i = 0; k == 1 && i < 3; i++)
				must(pthread_create(&t, NULL, thread, (void *)i) == 0);
			usleep(20000);
			raise(SIGSTOP);
			int one = went[1], three = went[3];
			usleep(50000);
			within(k == 0 || (went[1] > one && went[3] > three));
			__sync_fetch_and_add(&went[0], 1);
			while (went[0] < 2)
				usleep(1000);
			_exit(20 + k);
		}
	for (int k = 0; k < 2; k++)
		must(waitpid(pid[k], &status, WUNTRACED) == pid[k] && WIFSTOPPED(status));
	save_me();
	for (int i = 0; i < 5; i++)
		before[i] = went[i];
	usleep(200000);
	for (int i = 0; i < 5; i++)
		check(went[i] == before[i], "something went on: %d", i);
	for (int k = 0; k < 2; k++) {
		check(*status_of(pid[k], "State") == 'T', "%s", status_of(pid[k], "State"));
		check(kill(pid[k], SIGCONT) == 0);
	}
	for (int k = 0; k < 2; k++)
		while (waitpid(pid[k], &status, WUNTRACED) == pid[k] && WIFSTOPPED(status))
			;
	check(WIFEXITED(status) && WEXITSTATUS(status) == 21, "%#x", status);
	check(went[1] > before[1] && went[3] > before[3]);
	return finish();
}
