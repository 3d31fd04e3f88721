/* A pipe that is to send another signal, whose owner is set after the restore; and
 * one that is to send signals, and has no owner yet. */
#include "kids.h"
#include <time.h>

int main(void)
{
	const struct timespec limit = {5, 0};
	int sig[2], async[2];
	siginfo_t si;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGIO);
	must(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	must(pipe(sig) == 0 && fcntl(sig[0], F_SETSIG, SIGUSR1) == 0);
	must(pipe(async) == 0 && fcntl(async[0], F_SETFL, O_ASYNC) == 0);
	save_me();
	check(fcntl(sig[0], F_GETSIG) == SIGUSR1 && fcntl(sig[0], F_GETOWN) == 0 && fcntl(sig[0], F_GETFL) == 0, "signal %d", fcntl(sig[0], F_GETSIG));
	check(fcntl(async[0], F_GETFL) == O_ASYNC && fcntl(async[0], F_GETOWN) == 0, "flags %#x", fcntl(async[0], F_GETFL));
	check(fcntl(sig[0], F_SETOWN, getpid()) == 0 && fcntl(sig[0], F_SETFL, O_ASYNC) == 0 && fcntl(async[0], F_SETOWN, getpid()) == 0);
	check(write(sig[1], "x", 1) == 1 && sigtimedwait(&set, &si, &limit) == SIGUSR1 && si.si_fd == sig[0], "no signal comes");
	check(write(async[1], "x", 1) == 1 && sigtimedwait(&set, &si, &limit) == SIGIO, "no signal comes");
	return finish();
}
