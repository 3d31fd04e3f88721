/* Calls that wait without a limit wait on, without EINTR, until what they wait for
 * comes. */
#include "threads.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { PIPE, EVENTFD, SOCKET, EPOLL, SIGWAIT, CHILD, FUTEX, N };

static int p[2], s[2], ev, ep, q[2], result[N], err[N], word = 1;
static pid_t child;

static void waits(int i)
{
	char b[8];
	struct epoll_event e;
	sigset_t set;

	__sync_fetch_and_add(&ready, 1);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	switch (i) {
	case PIPE:
		result[i] = read(p[0], b, 1);
		break;
	case EVENTFD:
		result[i] = read(ev, b, 8);
		break;
	case SOCKET:
		result[i] = recv(s[0], b, 1, 0);
		break;
	case EPOLL:
		result[i] = epoll_wait(ep, &e, 1, -1);
		break;
	case SIGWAIT:
		result[i] = sigwaitinfo(&set, NULL);
		break;
	case CHILD:
		result[i] = waitpid(child, NULL, 0);
		break;
	case FUTEX:
		result[i] = syscall(SYS_futex, &word, 128, 1, NULL, NULL, 0);
	}
	err[i] = errno;
}

int main(void)
{
	static const int want[N] = {1, 8, 1, 1, SIGUSR1, 0, 0};
	struct epoll_event e = {.events = EPOLLIN};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	must(sigprocmask(SIG_BLOCK, &set, NULL) == 0 && pipe(p) == 0 && pipe(q) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
	must((ev = eventfd(0, 0)) >= 0 && (ep = epoll_create1(0)) >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, q[0], &e) == 0);
	must((child = fork()) >= 0);
	if (child == 0) {
		pause();
		_exit(0);
	}
	for (int i = 0; i < N; i++)
		start_thread(waits, i);
	usleep(100000);
	save_me();
	usleep(200000);
	for (int i = 0; i < N; i++)
		check(result[i] == 0 && err[i] == 0, "%d ended too early: %d, %s", i, result[i], strerror(err[i]));
	check(write(p[1], "x", 1) == 1 && write(q[1], "x", 1) == 1 && send(s[1], "x", 1, 0) == 1 && eventfd_write(ev, 3) == 0);
	check(kill(getpid(), SIGUSR1) == 0 && kill(child, SIGTERM) == 0);
	word = 0;
	check(syscall(SYS_futex, &word, 129, 1, NULL, NULL, 0) == 1);
	finish_threads();
	for (int i = 0; i < N; i++)
		check(result[i] == (i == CHILD ? child : want[i]), "%d: %d, %s", i, result[i], strerror(err[i]));
	return finish();
}
