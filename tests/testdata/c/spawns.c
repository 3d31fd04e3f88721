/* Three threads run shells by posix_spawn(3), that is, vfork, without end: all end as they
 * should, those that were saved, too. */
#include "threads.h"
#include <spawn.h>
#include <sys/wait.h>

static volatile int rounds[3];

static void body(int i)
{
	char script[32];
	char *args[] = {"sh", "-c", script, NULL}, *env[] = {NULL};

	snprintf(script, sizeof script, "(exit %d); exit $?", 40 + i);
	for (; !restored || rounds[i] < 5; rounds[i]++) {
		pid_t pid;
		int status, err = posix_spawn(&pid, "/bin/sh", NULL, NULL, args, env);

		check(err == 0, "%s", strerror(err));
		check(waitpid(pid, &status, 0) == pid && status == (40 + i) << 8, "thread %d: %#x", i, status);
		if (rounds[i] == 0)
			__sync_fetch_and_add(&ready, 1);
	}
}

int main(void)
{
	for (int i = 0; i < 3; i++)
		start_thread(body, i);
	save_me();
	for (int i = 0; i < 3; i++)
		rounds[i] = 1;
	finish_threads();
	return finish();
}
