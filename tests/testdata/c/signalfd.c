/* Signalfds: their masks and flags, which descriptors and processes share one, the
 * signals that waited, and a thread and an epoll that wait for the next */
#include "kids.h"
#include "epoll.h"
#include <pthread.h>
#include <sys/signalfd.h>

#define TAKEN SIGUSR1
#define QUEUED (SIGRTMIN + 1)
#define LATER (SIGRTMIN + 2)
#define WATCHED (SIGRTMIN + 3)

static int fd, sleeping;
static volatile int got, tid;

static sigset_t set_of(int a, int b)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, a);
	if (b)
		sigaddset(&set, b);
	return set;
}

/* next returns the signal that is read, and its value; 0 if none waits. */
static int next(int from, int *value)
{
	struct signalfd_siginfo si;
	ssize_t n = read(from, &si, sizeof si);

	if (value)
		*value = n == sizeof si ? si.ssi_int : -1;
	return n == sizeof si ? (int)si.ssi_signo : n == -1 && errno == EAGAIN ? 0 : -1;
}

static void queue(int sig, int value)
{
	must(sigqueue(getpid(), sig, (union sigval){.sival_int = value}) == 0);
}

static int same(int a, int b)
{
	return syscall(SYS_kcmp, getpid(), getpid(), 0, a, b) == 0;
}

static void *reader(void *arg)
{
	int value;

	tid = syscall(SYS_gettid);
	got = next(sleeping, &value) == LATER ? value : -1;
	return NULL;
}

/* A child reads its own signals through what it shares with its parent. */
static void child(int arg)
{
	int value;

	queue(QUEUED, 33);
	wait_restored();
	check(next(fd, &value) == QUEUED && value == 33, "%d", value);
	check(next(fd, NULL) == 0);
	check(fcntl(fd, F_GETFL) & O_APPEND, "not the parent's");
}

int main(void)
{
	sigset_t all = set_of(TAKEN, QUEUED), later = set_of(LATER, 0), watched = set_of(WATCHED, 0), none, one = set_of(TAKEN, 0);
	int twin, other, empty, blocking, value, ep, n;
	pthread_t thread;

	sigemptyset(&none);
	sigset_t block = all;
	sigaddset(&block, LATER);
	sigaddset(&block, WATCHED);
	must(sigprocmask(SIG_BLOCK, &block, NULL) == 0);
	must((fd = signalfd(-1, &all, SFD_NONBLOCK)) >= 0 && (twin = dup(fd)) >= 0);
	must((other = signalfd(-1, &all, SFD_NONBLOCK)) >= 0);
	must((empty = signalfd(-1, &none, SFD_NONBLOCK | SFD_CLOEXEC)) >= 0);
	must((sleeping = signalfd(-1, &later, 0)) >= 0);
	must((blocking = signalfd(-1, &watched, 0)) >= 0);
	start_kid(child, 0);
	must((ep = epoll_create1(EPOLL_CLOEXEC)) >= 0 && watch(ep, blocking, EPOLLIN, 7) == 0);
	must(pthread_create(&thread, NULL, reader, NULL) == 0);
	while (!tid)
		usleep(1000);
	usleep(20000);
	must(kill(getpid(), TAKEN) == 0);
	queue(QUEUED, 11);
	queue(QUEUED, 22);
	save_me();

	check(same(fd, twin) && !same(fd, other) && !same(fd, empty));
	check(fcntl(fd, F_GETFL) == (O_RDWR | O_NONBLOCK), "%#o", fcntl(fd, F_GETFL));
	check(fcntl(blocking, F_GETFL) == O_RDWR, "%#o", fcntl(blocking, F_GETFL));
	check(fcntl(fd, F_GETFD) == 0 && fcntl(empty, F_GETFD) == FD_CLOEXEC);
	check(next(empty, NULL) == 0, "it takes what it did not take");
	struct signalfd_siginfo si;
	check(read(fd, &si, sizeof si) == sizeof si && si.ssi_signo == TAKEN && si.ssi_pid == (uint32_t)getpid() && si.ssi_code == SI_USER, "%u of %u", si.ssi_signo, si.ssi_pid);
	check(next(twin, &value) == QUEUED && value == 11, "%d", value);
	check(next(other, &value) == QUEUED && value == 22, "%d", value);
	check(next(fd, NULL) == 0);
	/* a mask that is changed through one is changed for the other, not for a third */
	check(signalfd(twin, &one, 0) == twin);
	queue(QUEUED, 44);
	check(next(fd, NULL) == 0 && next(other, &value) == QUEUED && value == 44, "%d", value);
	check(signalfd(fd, &all, 0) == fd);
	check(fcntl(twin, F_SETFL, O_NONBLOCK | O_APPEND) == 0 && fcntl(fd, F_GETFL) & O_APPEND && !(fcntl(other, F_GETFL) & O_APPEND));

	check(got == 0, "the thread went on too early: %d", got);
	queue(LATER, 55);
	pthread_join(thread, NULL);
	check(got == 55, "%d", got);
	check(event(ep, 7, &n) == 0 && n == 0, "%d", n);
	queue(WATCHED, 66);
	check(event(ep, 7, &n) == EPOLLIN && n == 1, "%d", n);
	check(next(blocking, &value) == WATCHED && value == 66, "%d", value);
	check(event(ep, 7, &n) == 0 && n == 0, "%d", n);
	finish_kids();
	return finish();
}
