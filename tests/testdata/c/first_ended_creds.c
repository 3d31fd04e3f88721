/* The first thread has ended, and had other credentials, another nice value and policy, and
 * other CPUs than those that go on, which are confined by seccomp, all of them and one more
 * tightly. Its credentials say who may signal the process. */
#include "first_ended.h"
#include "filter.h"
#include <grp.h>
#include <sys/prctl.h>
#include <sys/resource.h>

static void tight(int i)
{
	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && deny(SYS_getppid, 77, 0) == 0);
	wait_restored();
	check(error_of(SYS_getppid) == 77 && error_of(SYS_getpgrp) == 78);
}

static int may_signal(uid_t uid)
{
	pid_t pid = fork();
	int status = -1;

	if (pid == 0)
		_exit(setresuid(uid, uid, uid) != 0 ? 9 : kill(getppid(), 0) == 0 ? 1 : 2);
	waitpid(pid, &status, 0);
	return WEXITSTATUS(status);
}

static void body(void)
{
	cpu_set_t set;

	must(deny(SYS_getpgrp, 78, 0) == 0 && setpriority(PRIO_PROCESS, 0, 5) == 0);
	start_thread(tight, 0);
	save_me();
	check(may_signal(4321) == 1 && may_signal(1234) == 2, "%d %d", may_signal(4321), may_signal(1234));
	check(getpriority(PRIO_PROCESS, getpid()) == 11 && getpriority(PRIO_PROCESS, gettid()) == 5);
	check(sched_getscheduler(getpid()) == SCHED_BATCH && sched_getscheduler(gettid()) == SCHED_OTHER);
	check(sched_getaffinity(getpid(), sizeof set, &set) == 0 && CPU_COUNT(&set) == 1);
	check(getuid() == 0 && error_of(SYS_getppid) == 0 && error_of(SYS_getpgrp) == 78);
	finish_threads();
}

int main(void)
{
	struct sched_param p = {0};
	cpu_set_t set;
	gid_t groups[] = {5, 6};
	pthread_t t;

	lead_is = (struct lead){body, 1};
	must(pthread_create(&t, NULL, lead_on, NULL) == 0);
	CPU_ZERO(&set);
	CPU_SET(0, &set);
	must(sched_setscheduler(0, SCHED_BATCH, &p) == 0 && setpriority(PRIO_PROCESS, gettid(), 11) == 0 && sched_setaffinity(0, sizeof set, &set) == 0);
	must(syscall(SYS_setgroups, 2, groups) == 0 && syscall(SYS_setresgid, 99, 98, 97) == 0 && syscall(SYS_setresuid, 4321, 4322, 4321) == 0);
	syscall(SYS_exit, 1);
}
