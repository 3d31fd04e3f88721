/* A child of an init that takes copies of the descriptors of everybody whom it sees in its
 * namespace, from its first moment after a restore on: it gets none. */
#include "kids.h"
#include <fcntl.h>

static void thief(int arg)
{
	int got = 0;

	me->ready = 1;
	while (access("saved", F_OK))
		sched_yield();
	for (int round = 0; round < 40; round++) {
		for (int pid = 2; pid < 4096; pid++) {
			int p = pid == getpid() ? -1 : (int)syscall(SYS_pidfd_open, pid, 0);

			for (int fd = 0; p >= 0 && fd < 10; fd++) {
				int s = syscall(SYS_pidfd_getfd, p, fd, 0);

				if (s >= 0 && ++got)
					close(s);
			}
			if (p >= 0)
				close(p);
		}
	}
	check(got == 0, "%d descriptors were got", got);
}

int main(void)
{
	must(getpid() == 1);
	start_kid(thief, 0);
	save_me();
	finish_kids();
	return finish();
}
