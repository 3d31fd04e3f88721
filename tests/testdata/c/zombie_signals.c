/* Children that have ended and told their parent so by other signals than SIGCHLD,
 * or by none: it is not told again. */
#include "kids.h"

static volatile sig_atomic_t got[65];
static void on(int sig) { got[sig]++; }

int main(void)
{
	static const int signals[] = {SIGUSR1, SIGCHLD, 0, 40, SIGUSR1, 40};
	enum { n = sizeof signals / sizeof *signals };
	pid_t pid[n];
	int status;

	must(signal(SIGUSR1, on) != SIG_ERR && signal(SIGCHLD, on) != SIG_ERR && signal(40, on) != SIG_ERR);
	for (int i = 0; i < n; i++) {
		siginfo_t si = {0};

		must((pid[i] = syscall(SYS_clone, signals[i], 0, 0, 0, 0)) >= 0);
		if (pid[i] == 0)
			_exit(i);
		while (waitid(P_PID, pid[i], &si, WEXITED | WNOWAIT | __WALL) != 0)
			must(errno == EINTR);
	}
	must(got[SIGUSR1] == 2 && got[SIGCHLD] == 1 && got[40] == 2);
	save_me();
	check(got[SIGUSR1] == 2 && got[SIGCHLD] == 1 && got[40] == 2, "%d, %d, %d", got[SIGUSR1], got[SIGCHLD], got[40]);
	for (int i = 0; i < n; i++)
		check(waitpid(pid[i], &status, WNOHANG | __WALL) == pid[i] && WIFEXITED(status) && WEXITSTATUS(status) == i, "%d: %#x", i, status);
	return finish();
}
