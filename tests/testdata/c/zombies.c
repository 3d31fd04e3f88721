/* Children that ended and were not waited for: their parent gets each status. */
#include "check.h"
#include <signal.h>
#include <sys/wait.h>

static pid_t child(int code, int sig)
{
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0) {
		if (sig)
			kill(getpid(), sig);
		_exit(code);
	}
	return pid;
}

int main(void)
{
	static const int codes[] = {0, 7, 255}, sigs[] = {SIGKILL, SIGTERM};
	pid_t pid[5];
	siginfo_t si;
	int status;

	for (int i = 0; i < 3; i++)
		pid[i] = child(codes[i], 0);
	for (int i = 0; i < 2; i++)
		pid[3 + i] = child(0, sigs[i]);
	usleep(100000);
	save_me();
	for (int i = 0; i < 5; i++) {
		check(waitid(P_PID, pid[i], &si, WEXITED | WNOWAIT) == 0 && si.si_pid == pid[i]);
		check(si.si_code == (i < 3 ? CLD_EXITED : CLD_KILLED) && si.si_status == (i < 3 ? codes[i] : sigs[i - 3]), "%d: %d %d", i, si.si_code, si.si_status);
		check(waitpid(pid[i], &status, WNOHANG) == pid[i], "%d", i);
		check(i < 3 ? WIFEXITED(status) && WEXITSTATUS(status) == codes[i] : WIFSIGNALED(status) && WTERMSIG(status) == sigs[i - 3], "%d: %#x", i, status);
	}
	check(wait(&status) == -1 && errno == ECHILD);
	return finish();
}
