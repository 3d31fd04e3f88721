/* Children that wait, having announced a restartable sequence: one that the kernel
 * would end them for as soon as they run on, and one that they are not in. */
#include "kids.h"
#include <stdint.h>
#include <sys/rseq.h>

static const uint32_t signature[] = {RSEQ_SIG, 0};
static struct rseq_cs good = {0, 0, 16, 16, (uintptr_t)(signature + 1)};

static void child(int bad)
{
	volatile struct rseq *r = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);

	must(__rseq_size > 0);
	me->ready = 1;
	/* The kernel takes it back, or ends us, when we are preempted: until we wait. */
	r->rseq_cs = bad ? 8 : (uintptr_t)&good;
	for (;;)
		pause();
}

int main(void)
{
	int status;

	start_kid(child, 1);
	start_kid(child, 0);
	usleep(100000);
	save_me();
	for (int i = 0; i < 2; i++) {
		check(waitpid(kid_pid[i], &status, WNOHANG) == 0, "child %d has ended with %#x", i, status);
		kill(kid_pid[i], SIGKILL);
		check(waitpid(kid_pid[i], &status, 0) == kid_pid[i] && status == SIGKILL, "%#x", status);
	}
	return finish();
}
