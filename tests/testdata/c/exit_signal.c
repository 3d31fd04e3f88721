/* Children that send no signal, or another one, when they end; and a signal for
 * the child when its parent ends. */
#include "kids.h"
#include <sys/prctl.h>

static volatile int *box;
static volatile sig_atomic_t usr1, chld;
static void on_usr1(int sig) { usr1++; }
static void on_chld(int sig) { chld++; }

static pid_t quiet(int sig, int code)
{
	pid_t pid = syscall(SYS_clone, sig, 0, 0, 0, 0);

	must(pid >= 0);
	if (pid == 0) {
		while (!box[0])
			usleep(1000);
		_exit(code);
	}
	return pid;
}

static void died(int sig) { box[1] = 1; _exit(0); }

int main(void)
{
	int status;

	box = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(signal(SIGUSR1, on_usr1) != SIG_ERR && signal(SIGCHLD, on_chld) != SIG_ERR);
	pid_t none = quiet(0, 1), usr = quiet(SIGUSR1, 2), middle = fork();
	if (middle == 0) {
		if (fork() == 0) {
			signal(SIGTERM, died);
			must(prctl(PR_SET_PDEATHSIG, SIGTERM) == 0);
			box[2] = 1;
			for (;;)
				pause();
		}
		while (!box[0])
			usleep(1000);
		_exit(3);
	}
	while (!box[2])
		usleep(1000);
	save_me();
	check(chld == 0 && usr1 == 0, "%d %d", chld, usr1);
	check(waitpid(none, &status, WNOHANG) == -1 && errno == ECHILD);
	box[0] = 1;
	check(within(waitpid(none, &status, __WCLONE | WNOHANG) == none) && WEXITSTATUS(status) == 1);
	check(within(waitpid(usr, &status, __WCLONE | WNOHANG) == usr) && WEXITSTATUS(status) == 2);
	check(within(waitpid(middle, &status, WNOHANG) == middle) && WEXITSTATUS(status) == 3);
	check(usr1 == 1 && chld == 1, "%d %d", usr1, chld);
	check(within(box[1]), "no signal when the parent ended");
	return finish();
}
