/* A child owns the signals of a pipe that parent and child have open, its process
 * group those of another one. */
#include "kids.h"
#include <time.h>

static int own[2], group[2];

static void child(int arg)
{
	struct timespec ten = {10, 0};
	siginfo_t si;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGIO);
	must(sigprocmask(SIG_BLOCK, &set, NULL) == 0 && setpgid(0, 0) == 0);
	wait_restored();
	check(fcntl(own[0], F_GETOWN) == getpid());
	sigdelset(&set, SIGIO);
	check(sigtimedwait(&set, &si, &ten) == SIGUSR1, "no signal came");
	check(si.si_fd == own[0] && si.si_code == POLL_IN, "of descriptor %d, code %d", si.si_fd, si.si_code);
	sigaddset(&set, SIGIO);
	sigdelset(&set, SIGUSR1);
	check(sigtimedwait(&set, &si, &ten) == SIGIO, "no signal came");
}

int main(void)
{
	must(pipe(own) == 0 && pipe(group) == 0);
	pid_t pid = start_kid(child, 0);
	must(fcntl(own[0], F_SETOWN, pid) == 0 && fcntl(own[0], F_SETSIG, SIGUSR1) == 0 && fcntl(own[0], F_SETFL, O_ASYNC) == 0);
	must(fcntl(group[0], F_SETOWN, -pid) == 0 && fcntl(group[0], F_SETFL, O_ASYNC | O_NONBLOCK) == 0);
	save_me();
	check(fcntl(own[0], F_GETOWN) == pid, "%d", fcntl(own[0], F_GETOWN));
	check(fcntl(own[0], F_GETSIG) == SIGUSR1 && fcntl(own[0], F_GETFL) == O_ASYNC, "signal %d, flags %#x", fcntl(own[0], F_GETSIG), fcntl(own[0], F_GETFL));
	struct f_owner_ex ex = {0};
	check(fcntl(group[0], F_GETOWN_EX, &ex) == 0 && ex.type == F_OWNER_PGRP && ex.pid == pid, "%d, %d", ex.type, ex.pid);
	check(fcntl(group[0], F_GETSIG) == 0 && fcntl(group[0], F_GETFL) == (O_ASYNC | O_NONBLOCK), "%#x", fcntl(group[0], F_GETFL));
	check(fcntl(own[1], F_GETOWN) == 0 && fcntl(own[1], F_GETFL) == O_WRONLY);
	check(write(own[1], "x", 1) == 1 && write(group[1], "x", 1) == 1);
	finish_kids();
	return finish();
}
