/* Pidfds: of oneself, a living child, a zombie, and of children that were waited for, with their status; their flags, which stand for the same process, and a thread and an epoll that wait for an end */
#include "kids.h"
#include "epoll.h"
#include "pidfd.h"
#include <pthread.h>

static int awaited;
static volatile int got;

static void lives(int arg) { wait_restored(); check(1); }

static void *waiter(void *arg)
{
	struct pollfd p = {awaited, POLLIN};

	got = poll(&p, 1, -1) == 1 ? p.revents : -1;
	return NULL;
}

/* ended starts a child that ends at once, and waits for it if it is to be gone. */
static pid_t ended(int code, int sig, int wait, int *a, int *b)
{
	int status, hold[2];
	char c;

	must(pipe(hold) == 0);
	pid_t pid = fork();
	must(pid >= 0);
	if (pid == 0) {
		close(hold[1]);
		must(read(hold[0], &c, 1) == 0);
		if (sig)
			kill(getpid(), sig);
		_exit(code);
	}
	*a = pidfd(pid, 0);
	if (b)
		*b = pidfd(pid, O_NONBLOCK);
	close(hold[0]);
	close(hold[1]);
	siginfo_t si;
	must(waitid(P_PID, pid, &si, WEXITED | WNOWAIT) == 0);
	if (wait)
		must(waitpid(pid, &status, 0) == pid);
	return pid;
}

int main(void)
{
	int self, child, again, nonblock, dup_of, zombie, dead, dead_too, killed, early, ep, n, knows;
	siginfo_t si;
	pthread_t thread;

	pid_t kid = start_kid(lives, 0), other = start_kid(lives, 0);
	self = pidfd(getpid(), 0);
	child = pidfd(kid, 0);
	again = pidfd(kid, 0);
	nonblock = pidfd(kid, O_NONBLOCK);
	must((dup_of = dup(child)) >= 0 && fcntl(dup_of, F_SETFD, 0) == 0);
	pid_t left = ended(5, 0, 0, &zombie, NULL);
	ended(3, 0, 1, &dead, &dead_too);
	ended(0, SIGTERM, 1, &killed, NULL);
	ended(0, 0, 1, &early, NULL);
	knows = ended_with(dead) != -1;
	awaited = pidfd(other, 0);
	must((ep = epoll_create1(0)) >= 0 && watch(ep, child, EPOLLIN, 1) == 0 && watch(ep, dead, EPOLLIN, 2) == 0 && watch(ep, zombie, EPOLLIN | EPOLLET, 3) == 0);
	must(pthread_create(&thread, NULL, waiter, NULL) == 0);
	usleep(20000);
	save_me();

	check(stands_for(self) == getpid() && polled(self) == 0 && send_signal(self, 0) == 0);
	check(stands_for(child) == kid && stands_for(nonblock) == kid && polled(child) == 0);
	check(fcntl(child, F_GETFL) == O_RDWR && fcntl(nonblock, F_GETFL) == (O_RDWR | O_NONBLOCK), "%#o %#o", fcntl(child, F_GETFL), fcntl(nonblock, F_GETFL));
	check(fcntl(child, F_GETFD) == FD_CLOEXEC && fcntl(dup_of, F_GETFD) == 0);
	check(syscall(SYS_kcmp, getpid(), getpid(), 0, child, dup_of) == 0 && syscall(SYS_kcmp, getpid(), getpid(), 0, child, again) != 0);
	check(inode(child) == inode(again) && inode(child) == inode(nonblock));
	int fresh = pidfd(kid, 0);
	check(inode(fresh) == inode(child));

	check(stands_for(zombie) == left && polled(zombie) & POLLIN);
	memset(&si, 0, sizeof si);
	check(waitid(P_PIDFD, zombie, &si, WEXITED) == 0 && si.si_pid == left && si.si_status == 5, "%d %d", si.si_pid, si.si_status);
	gone(zombie);
	gone(dead);
	gone(dead_too);
	gone(killed);
	gone(early);
	check(fcntl(dead, F_GETFL) == O_RDWR && fcntl(dead_too, F_GETFL) == (O_RDWR | O_NONBLOCK), "%#o %#o", fcntl(dead, F_GETFL), fcntl(dead_too, F_GETFL));
	check(inode(dead) == inode(dead_too));
	if (knows) {
		check(inode(dead) != inode(killed) && inode(dead) != inode(early));
		check(ended_with(dead) == 3 << 8 && ended_with(dead_too) == 3 << 8, "%#x", ended_with(dead));
		check(ended_with(killed) == SIGTERM && ended_with(early) == 0, "%#x %#x", ended_with(killed), ended_with(early));
		check(ended_with(zombie) == 5 << 8, "%#x", ended_with(zombie));
	}
	check(waitid(P_PIDFD, dead, &si, WEXITED) == -1 && errno == ECHILD, "%d", errno);

	check(event(ep, 2, NULL) & EPOLLIN);
	check(event(ep, 1, NULL) == 0);
	check(got == 0, "the thread went on too early: %#x", got);
	finish_kids();
	pthread_join(thread, NULL);
	check(got & POLLIN, "%#x", got);
	check(event(ep, 1, &n) & EPOLLIN);
	gone(child);
	return finish();
}
