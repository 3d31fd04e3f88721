/* Pidfds of a parent, a sibling and a grandchild, shared by fork, and used: signals are sent and descriptors fetched through them */
#include "kids.h"
#include "pidfd.h"

static int of_parent, of_first, shared, secret;
static volatile sig_atomic_t signals;

static void count(int sig) { signals++; }

static void first(int arg)
{
	signal(SIGUSR1, count);
	signal(SIGUSR2, count); /* two of one kind may become one */
	wait_restored();
	check(within(signals == 2), "%d signals", signals);
	check(stands_for(shared) == getppid());
}

static void second(int arg)
{
	int status, own = pidfd(getpid(), 0);
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0)
		for (;;)
			pause();
	int grandchild = pidfd(pid, 0);
	wait_restored();
	check(stands_for(of_parent) == getppid() && stands_for(own) == getpid() && stands_for(grandchild) == pid);
	check(send_signal(of_first, SIGUSR2) == 0);
	int fd = syscall(SYS_pidfd_getfd, of_parent, secret, 0);
	struct stat a, b;
	check(fd >= 0 && fstat(fd, &a) == 0 && stat("secret", &b) == 0 && a.st_ino == b.st_ino, "%s", strerror(errno));
	check(send_signal(grandchild, SIGKILL) == 0);
	siginfo_t si = {0};
	check(waitid(P_PIDFD, grandchild, &si, WEXITED) == 0 && si.si_pid == pid && si.si_status == SIGKILL);
	gone(grandchild);
	check(waitpid(-1, &status, 0) == -1 && errno == ECHILD);
	/* what is set through one descriptor is set for all who share it */
	check(fcntl(shared, F_SETFL, O_NONBLOCK) == 0);
}

int main(void)
{
	of_parent = pidfd(getpid(), 0);
	shared = pidfd(getpid(), 0);
	must((secret = open("secret", O_CREAT | O_RDWR, 0600)) >= 0);
	pid_t pid = start_kid(first, 0);
	of_first = pidfd(pid, 0);
	start_kid(second, 0);
	save_me();

	check(fcntl(shared, F_GETFL) == O_RDWR);
	check(stands_for(of_first) == pid && send_signal(of_first, SIGUSR1) == 0);
	finish_kids();
	check(fcntl(shared, F_GETFL) == (O_RDWR | O_NONBLOCK), "%#o", fcntl(shared, F_GETFL));
	gone(of_first);
	return finish();
}
