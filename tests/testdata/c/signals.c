/* Actions, masks, pending signals with what they carry, alternate stack, and a
 * handler that is at work while it is saved. */
#include "check.h"
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>

static volatile sig_atomic_t got_alarm, order[8], codes[8], n;
static void on_alarm(int sig) { got_alarm++; }
static void on_rt(int sig, siginfo_t *si, void *uc) { order[n] = si->si_value.sival_int; codes[n++] = si->si_code; }
static volatile int sender;
static void on_usr1(int sig, siginfo_t *si, void *uc) { sender = si->si_pid; }

static char stack[65536];
static void *handler_sp;
static int saved_inside;

static void on_usr2(int sig)
{
	char here;

	handler_sp = &here;
	save_me();
	saved_inside = 1;
	check((char *)&here >= stack && &here < stack + sizeof stack);
}

int main(void)
{
	struct sigaction a = {.sa_sigaction = on_rt, .sa_flags = SA_SIGINFO | SA_RESTART}, old;
	stack_t ss = {.ss_sp = stack, .ss_size = sizeof stack}, now;
	sigset_t mask, pending;

	sigaddset(&a.sa_mask, SIGHUP);
	sigaddset(&a.sa_mask, SIGRTMAX);
	must(sigaction(SIGRTMIN + 3, &a, NULL) == 0);
	a.sa_sigaction = on_usr1;
	must(sigaction(SIGUSR1, &a, NULL) == 0);
	must(signal(SIGHUP, SIG_DFL) != SIG_ERR); /* nohup ignores it */
	must(signal(SIGWINCH, SIG_IGN) != SIG_ERR && signal(SIGALRM, on_alarm) != SIG_ERR);
	must(sigaltstack(&ss, NULL) == 0);
	struct sigaction u = {.sa_handler = on_usr2, .sa_flags = SA_ONSTACK};
	must(sigaction(SIGUSR2, &u, NULL) == 0);
	sigemptyset(&mask);
	sigaddset(&mask, SIGRTMIN + 3);
	sigaddset(&mask, SIGUSR1);
	sigaddset(&mask, SIGTERM);
	must(sigprocmask(SIG_BLOCK, &mask, NULL) == 0);
	for (int i = 1; i <= 3; i++)
		must(sigqueue(getpid(), SIGRTMIN + 3, (union sigval){.sival_int = i * 11}) == 0);
	must(syscall(SYS_tgkill, getpid(), getpid(), SIGUSR1) == 0 && kill(getpid(), SIGTERM) == 0);
	struct itimerval it = {.it_value = {100, 0}, .it_interval = {7, 500}}, left;
	must(setitimer(ITIMER_REAL, &it, NULL) == 0);
	must(raise(SIGUSR2) == 0); /* it is saved in the handler */

	check(saved_inside == 1);
	check(sigaction(SIGRTMIN + 3, NULL, &old) == 0 && old.sa_sigaction == on_rt && (old.sa_flags & (SA_SIGINFO | SA_RESTART)) == (SA_SIGINFO | SA_RESTART));
	check(sigismember(&old.sa_mask, SIGHUP) && sigismember(&old.sa_mask, SIGRTMAX) && !sigismember(&old.sa_mask, SIGINT));
	check(sigaction(SIGWINCH, NULL, &old) == 0 && old.sa_handler == SIG_IGN);
	check(sigaction(SIGHUP, NULL, &old) == 0 && old.sa_handler == SIG_DFL);
	check(sigprocmask(SIG_BLOCK, NULL, &mask) == 0 && sigismember(&mask, SIGUSR1) && sigismember(&mask, SIGTERM) && !sigismember(&mask, SIGUSR2) && !sigismember(&mask, SIGINT));
	check(sigpending(&pending) == 0 && sigismember(&pending, SIGTERM) && sigismember(&pending, SIGUSR1) && !sigismember(&pending, SIGHUP));
	check(sigaltstack(NULL, &now) == 0 && now.ss_sp == stack && now.ss_size == sizeof stack && now.ss_flags == 0, "flags %d", now.ss_flags);
	check(getitimer(ITIMER_REAL, &left) == 0 && left.it_value.tv_sec >= 80 && left.it_value.tv_sec < 100 && left.it_interval.tv_sec == 7 && left.it_interval.tv_usec == 500,
		"%ld s left", (long)left.it_value.tv_sec);
	signal(SIGTERM, SIG_IGN);
	sigemptyset(&mask);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	check(n == 3 && order[0] == 11 && order[1] == 22 && order[2] == 33 && codes[0] == SI_QUEUE, "%d: %d %d %d", n, order[0], order[1], order[2]);
	check(sender == getpid());
	check(got_alarm == 0);
	return finish();
}
