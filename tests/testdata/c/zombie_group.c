/* A process that has ended leads a group that another is in, and a session. */
#include "kids.h"

static pid_t leader;

static void member(int arg)
{
	must(setpgid(0, leader) == 0);
	wait_restored();
	check(getpgrp() == leader, "%d", getpgrp());
}

int main(void)
{
	int status;
	pid_t session = fork();

	if (session == 0) {
		setsid();
		_exit(3);
	}
	must((leader = fork()) >= 0);
	if (leader == 0) {
		pause();
		_exit(2);
	}
	must(setpgid(leader, leader) == 0);
	start_kid(member, 0);
	must(kill(leader, SIGTERM) == 0);
	usleep(50000);
	save_me();
	check(getpgid(leader) == leader, "%d", getpgid(leader));
	check(waitpid(leader, &status, WNOHANG) == leader && WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
	check(waitpid(session, &status, WNOHANG) == session && WEXITSTATUS(status) == 3);
	finish_kids();
	return finish();
}
