/* Threads with other user ids than their process, set by raw system calls. */
#include "threads.h"
#include <sys/stat.h>

static void body(int i)
{
	uid_t r, e, s;

	must(syscall(SYS_setresuid, 1000 + i, 1000 + i, 0) == 0);
	wait_restored();
	check(syscall(SYS_getresuid, &r, &e, &s) == 0 && r == 1000u + i && e == r && s == 0, "thread %d: %u %u %u", i, r, e, s);
}

int main(void)
{
	must(chmod(".", 0777) == 0);
	for (int i = 0; i < 3; i++)
		start_thread(body, i);
	save_me();
	check(getuid() == 0 && geteuid() == 0);
	finish_threads();
	return finish();
}
