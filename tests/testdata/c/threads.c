/* Eight threads: ids, thread-local values, stacks, and that they can be joined. */
#include "threads.h"

static __thread int value;
static __thread char text[16];

static void body(int i)
{
	pid_t tid = gettid();
	int local = i * 7;

	value = i * 11;
	snprintf(text, sizeof text, "thread %d", i);
	wait_restored();
	char want[16];
	snprintf(want, sizeof want, "thread %d", i);
	check(gettid() == tid, "%d, was %d", gettid(), tid);
	check(value == i * 11 && local == i * 7 && !strcmp(text, want), "%d %d %s", value, local, text);
	check(syscall(SYS_tgkill, getpid(), tid, 0) == 0);
}

int main(void)
{
	pid_t pid = getpid();

	for (int i = 0; i < 8; i++)
		start_thread(body, i);
	save_me();
	check(getpid() == pid && gettid() == pid);
	finish_threads();
	return finish();
}
