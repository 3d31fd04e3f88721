/* Signals queued for the process keep their order and what they carry; blocked
 * standard signals; actions of all signals. */
#include "check.h"
#include <signal.h>

static void h1(int sig) {}
static void h2(int sig, siginfo_t *si, void *uc) {}

int main(void)
{
	sigset_t all;
	siginfo_t si;
	struct timespec none = {0};
	struct sigaction was[65], now;

	for (int s = 1; s <= 64; s++) {
		struct sigaction sa = {0};
		if (s == SIGKILL || s == SIGSTOP || s == 32 || s == 33)
			continue;
		if (s % 3 == 0)
			sa.sa_sigaction = h2, sa.sa_flags = SA_SIGINFO | (s % 2 ? SA_RESTART : SA_NODEFER);
		else if (s % 3 == 1)
			sa.sa_handler = h1, sa.sa_flags = s % 2 ? SA_ONSTACK : SA_RESETHAND;
		else
			sa.sa_handler = SIG_IGN;
		sigemptyset(&sa.sa_mask);
		sigaddset(&sa.sa_mask, s % 31 + 1);
		must(sigaction(s, &sa, NULL) == 0 && sigaction(s, NULL, &was[s]) == 0);
	}
	must(signal(SIGCHLD, SIG_DFL) != SIG_ERR);
	struct sigaction nocld = {.sa_handler = SIG_DFL, .sa_flags = SA_NOCLDSTOP | SA_NOCLDWAIT};
	must(sigaction(SIGCHLD, &nocld, NULL) == 0 && sigaction(SIGCHLD, NULL, &was[SIGCHLD]) == 0);
	sigemptyset(&all);
	sigaddset(&all, SIGUSR1);
	sigaddset(&all, SIGHUP);
	for (int s = SIGRTMIN; s <= SIGRTMIN + 4; s++)
		sigaddset(&all, s);
	must(sigprocmask(SIG_BLOCK, &all, NULL) == 0);
	for (int i = 0; i < 50; i++)
		must(sigqueue(getpid(), SIGRTMIN + i % 5, (union sigval){.sival_int = i}) == 0);
	must(kill(getpid(), SIGUSR1) == 0 && sigqueue(getpid(), SIGHUP, (union sigval){.sival_int = 99}) == 0);
	save_me();
	for (int s = 1; s <= 64; s++) {
		if (s == SIGKILL || s == SIGSTOP || s == 32 || s == 33)
			continue;
		check(sigaction(s, NULL, &now) == 0 && now.sa_handler == was[s].sa_handler && now.sa_flags == was[s].sa_flags && !memcmp(&now.sa_mask, &was[s].sa_mask, 8), "signal %d", s);
	}
	check(sigtimedwait(&all, &si, &none) == SIGHUP && si.si_code == SI_QUEUE && si.si_value.sival_int == 99 && si.si_pid == getpid());
	check(sigtimedwait(&all, &si, &none) == SIGUSR1 && si.si_code == SI_USER && si.si_pid == getpid());
	for (int k = 0; k < 5; k++)
		for (int i = k; i < 50; i += 5)
			check(sigtimedwait(&all, &si, &none) == SIGRTMIN + k && si.si_value.sival_int == i, "%d: %d", i, si.si_value.sival_int);
	check(sigtimedwait(&all, &si, &none) == -1 && errno == EAGAIN);
	return finish();
}
