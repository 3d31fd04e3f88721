/* The init of a pid namespace, with children, threads, orphans and sessions: all ids are
 * those that it sees, and what signals do to it is what they do to an init. */
#include "kids.h"
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>

#define gettid() ((pid_t)syscall(SYS_gettid))

static int pair[2], owned[2], from, orphan_gate[2];
static volatile pid_t tid;
static volatile int stop, ticks;
static pid_t *orphan;

static void tick(int sig) { ticks += gettid() == tid; }

static void *thread(void *arg)
{
	tid = gettid();
	while (!stop)
		usleep(1000);
	check(gettid() == tid && tid > 1);
	return NULL;
}

static void owner_is(int fd, int type, int id)
{
	struct f_owner_ex o = {-1, -1};

	check(fcntl(fd, F_GETOWN_EX, &o) == 0 && o.type == type && o.pid == id, "%d %d", o.type, o.pid);
}

static void leader(int arg)
{
	pid_t pid = getpid();

	must(setsid() == pid);
	wait_restored();
	check(getpid() == pid && getppid() == 1 && getsid(0) == pid && getpgrp() == pid, "%d", getpid());
	check(kill(1, 0) == 0 && kill(1, SIGTERM) == 0 && kill(1, SIGKILL) == 0, "an init does without");
}

static void sender(int arg)
{
	must(write(pair[1], "before", 6) == 6);
	wait_restored();
	check(write(pair[1], "after", 5) == 5);
	check(kill(1, SIGUSR2) == 0);
}

static pid_t credentials(char *text, size_t n)
{
	char control[CMSG_SPACE(sizeof(struct ucred))];
	struct iovec iov = {text, n};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};

	memset(text, 0, n);
	if (recvmsg(pair[0], &m, 0) < 0 || !CMSG_FIRSTHDR(&m))
		return -1;
	return ((struct ucred *)CMSG_DATA(CMSG_FIRSTHDR(&m)))->pid;
}

/* One that has lost its parent. */
static void make_orphan(void)
{
	pid_t pid;
	char c;

	must(pipe(orphan_gate) == 0 && (orphan = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) != MAP_FAILED);
	must((pid = fork()) >= 0);
	if (pid == 0) {
		if (fork())
			_exit(0);
		while (getppid() != 1)
			usleep(1000);
		orphan[1] = getpgrp();
		orphan[0] = getpid();
		close(orphan_gate[1]);
		close(gate[1]);
		if (read(orphan_gate[0], &c, 1) != 0)
			_exit(1);
		_exit(getppid() == 1 && getpid() == orphan[0] && getpgrp() == orphan[1] ? 42 : 2);
	}
	must(waitpid(pid, NULL, 0) == pid);
	while (!orphan[0])
		usleep(1000);
}

int main(void)
{
	struct itimerspec often = {{0, 1000000}, {0, 1000000}};
	struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1};
	sigset_t set;
	siginfo_t info;
	pthread_t t;
	timer_t timer;
	char text[16];
	int status, one = 1;
	pid_t sid = getsid(0);

	must(getpid() == 1 && getppid() == 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	must(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	must(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0 && pipe(owned) == 0);
	must(setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &one, sizeof one) == 0);
	start_kid(leader, 0);
	from = start_kid(sender, 0);
	make_orphan();
	pid_t first = fork();
	if (first == 0)
		_exit(kill(1, SIGUSR2) != 0);
	must(waitpid(first, &status, 0) == first && status == 0);
	must(fcntl(owned[0], F_SETOWN, kid_pid[0]) == 0);
	must(pthread_create(&t, NULL, thread, NULL) == 0);
	while (!tid)
		usleep(1000);
	must(fcntl(owned[1], F_SETOWN_EX, &(struct f_owner_ex){F_OWNER_TID, tid}) == 0);
	signal(SIGUSR1, tick);
	event._sigev_un._tid = tid;
	must(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0 && timer_settime(timer, 0, &often, NULL) == 0);
	save_me();

	check(getpid() == 1 && getppid() == 0 && getsid(0) == sid, "%d %d %d", getpid(), getppid(), getsid(0));
	check(credentials(text, sizeof text) == from && !strcmp(text, "before"), "%s", text);
	owner_is(owned[0], F_OWNER_PID, kid_pid[0]);
	owner_is(owned[1], F_OWNER_TID, tid);
	check(sigwaitinfo(&set, &info) == SIGUSR2 && info.si_pid == first && info.si_code == SI_USER, "from %d", info.si_pid);
	ticks = 0;
	while (ticks < 3)
		usleep(1000);
	check(kill(from, 0) == 0 && getsid(kid_pid[0]) == kid_pid[0] && getpgid(from) == getpgrp());
	finish_kids();
	check(credentials(text, sizeof text) == from && !strcmp(text, "after"), "%s", text);
	check(sigwaitinfo(&set, &info) == SIGUSR2 && info.si_pid == from, "from %d", info.si_pid);
	close(orphan_gate[1]);
	check(waitpid(orphan[0], &status, 0) == orphan[0] && WIFEXITED(status) && WEXITSTATUS(status) == 42, "%#x", status);
	stop = 1;
	check(pthread_join(t, NULL) == 0);
	return finish();
}
