/* A grandchild shares descriptors and the working folder with the program, but
 * not the child between, which left them; and one that stayed in the old session
 * of a parent that leads its own. Two processes in the groups of each other. */
#include "check.h"
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static volatile struct {
	pid_t between, grand, stayed, a, b;
	int fd_grand, fd_between, umask_grand, umask_between, sid, pgid_a, pgid_b, sid_stayed, pgid_stayed, asked, told;
	int step, kept;
} *box;

static pid_t make(unsigned long flags) { return syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0); }

static void answers(volatile int *fd, volatile int *mask)
{
	while (!box->asked)
		usleep(1000);
	*fd = fcntl(77, F_GETFD) != -1;
	*mask = umask(0);
	box->told++;
	for (;;)
		pause();
}

static pid_t group(int n)
{
	pid_t pid = fork();

	if (pid == 0) {
		if (setpgid(0, 0) == 0)
			__sync_fetch_and_add(&box->step, 1);
		while (!box->kept || n && getpgid(box->a) != box->b)
			usleep(1000);
		setpgid(0, n ? box->a : box->b);
		for (;;)
			pause();
	}
	return pid;
}

int main(void)
{
	pid_t keeper;

	must((box = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) != MAP_FAILED);
	umask(027);
	if (make(CLONE_FILES | CLONE_FS) == 0) {
		box->between = getpid();
		pid_t pid = make(CLONE_FILES | CLONE_FS);
		if (pid == 0)
			answers(&box->fd_grand, &box->umask_grand);
		box->grand = pid;
		if ((pid = fork()) == 0)
			for (;;)
				pause();
		box->stayed = pid;
		unshare(CLONE_FILES | CLONE_FS);
		umask(055);
		box->sid = setsid();
		answers(&box->fd_between, &box->umask_between);
	}
	while (!box->sid)
		usleep(1000);
	box->a = group(0);
	box->b = group(1);
	while (box->step < 2)
		usleep(1000);
	/* Holds a's group until b is in it. */
	if ((keeper = fork()) == 0) {
		if (setpgid(0, box->a) == 0)
			box->kept = 1;
		for (;;)
			pause();
	}
	while (getpgid(box->b) != box->a || getpgid(box->a) != box->b)
		usleep(1000);
	kill(keeper, SIGKILL);
	must(waitpid(keeper, NULL, 0) == keeper);
	box->sid_stayed = getsid(box->stayed), box->pgid_stayed = getpgid(box->stayed);
	save_me();
	must(dup2(0, 77) == 77);
	umask(0123);
	box->asked = 1;
	while (box->told < 2)
		usleep(1000);
	check(box->fd_grand && box->umask_grand == 0123, "the grandchild: %d, umask %o", box->fd_grand, box->umask_grand);
	check(!box->fd_between && box->umask_between == 055, "the child: %d, umask %o", box->fd_between, box->umask_between);
	check(getsid(box->between) == box->between, "%d", getsid(box->between));
	check(getsid(box->stayed) == getsid(0) && getsid(0) == box->sid_stayed, "%d, was %d", getsid(box->stayed), box->sid_stayed);
	check(getpgid(box->stayed) == box->pgid_stayed, "%d, was %d", getpgid(box->stayed), box->pgid_stayed);
	check(getpgid(box->a) == box->b && getpgid(box->b) == box->a, "%d %d", getpgid(box->a), getpgid(box->b));
	for (int i = 0; i < 5; i++)
		kill((pid_t[]){box->between, box->grand, box->stayed, box->a, box->b}[i], SIGKILL);
	return finish();
}
