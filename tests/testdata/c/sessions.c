/* Children in their parent's session and group, in their own, in a group whose
 * leader is gone, in a session older than their parent's; one that lost its
 * session's leader, and one its parent, both given to the root, a subreaper. */
#include "kids.h"
#include <sys/prctl.h>

enum { PLAIN, LEADER, GROUP, MEMBER, AFTER, N };

static volatile struct { pid_t sid, pgid, pid, ppid; } *was;
static volatile struct { pid_t lost, lost_sid, leader, orphan; int go; } *o;
static pid_t dead_group;

static void note(int i)
{
	was[i].sid = getsid(0), was[i].pgid = getpgrp(), was[i].pid = getpid(), was[i].ppid = getppid();
}

static void same(int i)
{
	check(was[i].sid == getsid(0), "%d: session %d, was %d", i, getsid(0), was[i].sid);
	check(was[i].pgid == getpgrp(), "%d: group %d, was %d", i, getpgrp(), was[i].pgid);
	check(was[i].pid == getpid() && (i == N || was[i].ppid == getppid()), "%d: pid %d of %d, was %d of %d", i, getpid(), getppid(), was[i].pid, was[i].ppid);
}

static pid_t waits(int status)
{
	pid_t pid = fork();

	if (pid == 0) {
		while (!o->go)
			usleep(1000);
		_exit(status);
	}
	return pid;
}

static void body(int i)
{
	pid_t older = 0, old = getsid(0);
	int status;

	switch (i) {
	case LEADER:
		must(setsid() > 0);
		break;
	case GROUP:
		must(setpgid(0, 0) == 0);
		break;
	case MEMBER:
		must(setpgid(0, dead_group) == 0);
		break;
	case AFTER:
		older = waits(4);
		must(setsid() > 0);
	}
	note(i);
	wait_restored();
	same(i);
	if (older) {
		check(getsid(older) == old, "%d, was %d", getsid(older), old);
		check(waitpid(older, &status, 0) == older && WEXITSTATUS(status) == 4);
	}
}

/* A leader that ends; its child goes on in the session. */
static void lose_leader(void)
{
	pid_t leader = fork();

	if (leader == 0) {
		must(setsid() > 0);
		o->lost_sid = getpid();
		o->lost = waits(5);
		_exit(0);
	}
	must(waitpid(leader, NULL, 0) == leader && getsid(o->lost) == leader);
}

/* A leader whose child ends; the child's child goes on in the session. */
static void lose_parent(void)
{
	pid_t leader = fork();

	if (leader == 0) {
		must(setsid() > 0);
		pid_t middle = fork();
		if (middle == 0) {
			o->orphan = waits(6);
			_exit(0);
		}
		waitpid(middle, NULL, 0);
		while (!o->go)
			usleep(1000);
		_exit(7);
	}
	o->leader = leader;
	while (!o->orphan)
		usleep(1000);
	usleep(50000);
}

int main(void)
{
	int status;

	was = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	o = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(was != MAP_FAILED && o != MAP_FAILED && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0);
	lose_leader();
	lose_parent();
	must((dead_group = fork()) >= 0);
	if (dead_group == 0)
		pause();
	must(setpgid(dead_group, dead_group) == 0);
	for (int i = 0; i < N; i++) {
		start_kid(body, i);
		if (i == MEMBER)
			must(kill(dead_group, SIGKILL) == 0 && waitpid(dead_group, NULL, 0) == dead_group);
	}
	note(N);
	save_me();
	same(N);
	check(getsid(o->lost) == o->lost_sid && getsid(o->orphan) == o->leader, "%d %d", getsid(o->lost), getsid(o->orphan));
	check(kill(-was[MEMBER].pgid, 0) == 0);
	o->go = 1;
	check(waitpid(o->lost, &status, 0) == o->lost && WEXITSTATUS(status) == 5);
	check(waitpid(o->orphan, &status, 0) == o->orphan && WEXITSTATUS(status) == 6);
	check(waitpid(o->leader, &status, 0) == o->leader && WEXITSTATUS(status) == 7);
	finish_kids();
	return finish();
}
