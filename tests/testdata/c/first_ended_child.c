/* Children whose first thread has ended, with statuses from 0 to 255: their parent can't wait
 * for them as long as a thread goes on, and then gets the status that it gets of such a child
 * that was not saved, or that of exit_group(2), or the signal; one leads a session, and one with children: a zombie, and such that are told
 * of their parent's death, which the end of a thread is not, neither then nor in a restore. */
#include "kids.h"
#include <pthread.h>
#include <sys/prctl.h>

static int how;

enum { JUST_ENDS = 1, ENDS_ALL, KILLED, LEADS };

static volatile sig_atomic_t told;
static int listening[2];

static void tell(int sig) { told++; }

static pid_t grandchild(void (*body)(void))
{
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0)
		body();
	return pid;
}

static void listens(void)
{
	char c;

	signal(SIGUSR1, tell);
	prctl(PR_SET_PDEATHSIG, SIGUSR1);
	close(listening[0]);
	close(listening[1]); /* which tells the parent */
	while (read(gate[0], &c, 1) == -1 && errno == EINTR)
		;
	_exit(told);
}

static void ends(void) { _exit(9); }

static int state(pid_t pid)
{
	char name[64], text[512] = "";
	int fd;

	snprintf(name, sizeof name, "/proc/%d/stat", pid);
	if ((fd = open(name, O_RDONLY)) >= 0) {
		must(read(fd, text, sizeof text - 1) > 0);
		close(fd);
	}
	return *text ? strrchr(text, ')')[2] : 0;
}

static void *goes_on(void *arg)
{
	siginfo_t si;
	pid_t zombie = 0, listener = 0;
	int status;

	while (state(getpid()) != 'Z')
		usleep(500);
	if (how == LEADS) {
		must(setsid() == getpid());
		prctl(PR_SET_CHILD_SUBREAPER, 1);
		zombie = grandchild(ends);
		must(waitid(P_PID, zombie, &si, WEXITED | WNOWAIT) == 0);
		char c;
		must(pipe(listening) == 0);
		listener = grandchild(listens);
		must(close(listening[1]) == 0 && read(listening[0], &c, 1) == 0 && close(listening[0]) == 0);
	}
	wait_restored();
	if (how == LEADS) {
		int sub = 0;
		check(getsid(0) == getpid() && getpgrp() == getpid());
		check(prctl(PR_GET_CHILD_SUBREAPER, &sub) == 0 && sub == 1);
		check(waitpid(zombie, &status, 0) == zombie && status == 9 << 8, "%#x", status);
		check(waitpid(listener, &status, 0) == listener && status == 0, "%#x", status);
		fflush(stdout);
		_exit(failures > 0);
	}
	while (how == KILLED)
		pause();
	if (how == ENDS_ALL)
		_exit(44);
	syscall(SYS_exit, 1);
	return arg;
}

static void child(int arg)
{
	pthread_t t;

	how = arg & 15;
	must(pthread_create(&t, NULL, goes_on, NULL) == 0);
	syscall(SYS_exit, arg >> 4);
}

/* unsaved returns the status of a child that is like child(arg) but ends at once: in some
 * kernels it is that of the first thread, in others that of the last. */
static int unsaved(int arg)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		must((me = calloc(1, sizeof *me)) && dup2(open("/dev/null", O_RDONLY), 0) == 0);
		gate[0] = 0;
		child(arg);
	}
	must(waitpid(pid, &status, 0) == pid);
	return status;
}

int main(void)
{
	static const int statuses[] = {JUST_ENDS, JUST_ENDS | 7 << 4, JUST_ENDS | 255 << 4, ENDS_ALL | 7 << 4, KILLED, LEADS};
	int status, wants[6] = {0, 0, 0, 44 << 8, SIGTERM, 0};

	for (int i = 0; i < 3; i++)
		wants[i] = unsaved(statuses[i]);
	for (int i = 0; i < 6; i++)
		start_kid(child, statuses[i]);
	save_me();
	for (int i = 0; i < 6; i++) {
		check(waitpid(kid_pid[i], &status, WNOHANG) == 0, "%d has ended", i);
		check(state(kid_pid[i]) == 'Z');
	}
	check(kill(kid_pid[4], SIGTERM) == 0);
	close(gate[1]);
	for (int i = 0; i < 6; i++) {
		check(waitpid(kid_pid[i], &status, 0) == kid_pid[i] && status == wants[i], "%d: %#x %s", i, status, kids[i].said);
	}
	return finish();
}
