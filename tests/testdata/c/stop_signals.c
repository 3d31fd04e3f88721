/* Children stopped by each of the four stop signals keep that as what stopped
 * them; the parent that was told of a stop, by SIGCHLD and by waitpid, is not told
 * again, and the one that was not yet told, is, once */
#include "kids.h"
#include "proc.h"

static const int signals[] = {SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU};
static volatile sig_atomic_t told;

static void on_chld(int sig) { told++; }

static pid_t stopped_kid(int sig)
{
	pid_t pid = fork();

	if (pid == 0) {
		setpgid(0, 0); /* in the orphaned group of a session's leader only SIGSTOP stops */
		raise(sig);
		pause();
	}
	must(pid > 0);
	must(within(*status_of(pid, "State") == 'T'));
	return pid;
}

int main(void)
{
	struct sigaction a = {.sa_handler = on_chld, .sa_flags = SA_RESTART};
	pid_t known[4], unknown[4];
	int status, before;

	must(sigaction(SIGCHLD, &a, NULL) == 0);
	for (int i = 0; i < 4; i++) {
		known[i] = stopped_kid(signals[i]);
		must(waitpid(known[i], &status, WUNTRACED) == known[i] && WSTOPSIG(status) == signals[i]);
		unknown[i] = stopped_kid(signals[i]);
	}
	before = told;
	must(before > 0);
	save_me();
	usleep(100000);
	check(told == before, "SIGCHLD came %d times", told - before);
	for (int i = 0; i < 4; i++) {
		check(*status_of(known[i], "State") == 'T' && *status_of(unknown[i], "State") == 'T');
		check(waitpid(known[i], &status, WUNTRACED | WNOHANG) == 0, "told again of %d", known[i]);
		check(waitpid(unknown[i], &status, WUNTRACED | WNOHANG) == unknown[i] && WIFSTOPPED(status) && WSTOPSIG(status) == signals[i],
			"%#x", status);
		check(waitpid(unknown[i], &status, WUNTRACED | WNOHANG) == 0, "told twice of %d", unknown[i]);
	}
	for (int i = 0; i < 4; i++) {
		kill(known[i], SIGCONT), kill(unknown[i], SIGCONT);
		check(within(*status_of(known[i], "State") == 'S') && within(*status_of(unknown[i], "State") == 'S'));
		kill(known[i], SIGKILL), kill(unknown[i], SIGKILL);
		check(waitpid(known[i], &status, 0) == known[i] && waitpid(unknown[i], &status, 0) == unknown[i]);
	}
	return finish();
}
