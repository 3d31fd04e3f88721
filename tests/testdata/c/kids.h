/* Children of a program: each sets its state up, calls wait_restored(), checks
 * its state and ends. What its checks say, the parent prints. */
#ifndef KIDS_H
#define KIDS_H
#include "check.h"
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define MAX_KIDS 32

static struct kid {
	volatile int ready;
	char said[8000];
} *kids, *me;
static pid_t kid_pid[MAX_KIDS];
static int nkids, gate[2];

/* clone_kid runs body(arg) in a child made with these clone flags. It returns
 * when the child is ready. */
static inline pid_t clone_kid(unsigned long flags, void (*body)(int), int arg)
{
	pid_t pid;

	if (!kids) {
		kids = mmap(NULL, MAX_KIDS * sizeof *kids, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		must(kids != MAP_FAILED && pipe2(gate, O_CLOEXEC) == 0);
	}
	must(nkids < MAX_KIDS);
	struct kid *k = &kids[nkids];
	fflush(stdout);
	must((pid = flags ? syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0) : fork()) >= 0);
	if (pid == 0) {
		me = k;
		close(gate[1]);
		stdout = fmemopen(k->said, sizeof k->said, "w");
		checks = failures = 0;
		body(arg);
		fflush(stdout);
		_exit(checks == 0 || failures > 0);
	}
	kid_pid[nkids++] = pid;
	while (!k->ready) {
		if (waitpid(pid, NULL, WNOHANG) != 0)
			printf("setup: in a child: %s\n", k->said), fflush(stdout), exit(2);
		usleep(1000);
	}
	return pid;
}

static inline pid_t start_kid(void (*body)(int), int arg) { return clone_kid(0, body, arg); }

/* wait_restored is a child's save_me(). */
static inline void wait_restored(void)
{
	char c;

	me->ready = 1;
	while (read(gate[0], &c, 1) == -1 && errno == EINTR)
		;
}

/* finish_kids lets the children check, and judges them. */
static inline void finish_kids(void)
{
	int status;

	close(gate[1]);
	for (int i = 0; i < nkids; i++) {
		check(waitpid(kid_pid[i], &status, 0) == kid_pid[i], "child %d is not there", i);
		check(status == 0, "child %d ended with %#x: %s", i, status, kids[i].said);
	}
}

/* within waits up to five seconds for a condition. */
#define within(cond) ({ \
	int within_n = 0, within_is; \
	while (!(within_is = (cond)) && within_n++ < 5000) \
		usleep(1000); \
	within_is; \
})
#endif
