// Has many kinds of state, in a few processes and threads, makes a file and waits.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <mqueue.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void must(int ok, const char *what) {
	if (!ok) {
		perror(what);
		exit(1);
	}
}
#define MUST(x) must(x, #x)

static void *rest(void *unused) {
	for (;;)
		pause();
	return unused;
}

static int file(const char *name) {
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
	MUST(fd >= 0 && write(fd, "content", 7) == 7);
	return fd;
}

static void files(void) {
	int p[2], s[2], d[2], one = 1;
	MUST(!pipe(p) && write(p[1], "hello", 5) == 5);
	MUST(!socketpair(AF_UNIX, SOCK_STREAM, 0, s) && write(s[0], "abc", 3) == 3);
	MUST(!socketpair(AF_UNIX, SOCK_DGRAM, 0, d) && !setsockopt(d[1], SOL_SOCKET, SO_PASSCRED, &one, sizeof one) && write(d[0], "xyz", 3) == 3);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int tcp = socket(AF_INET, SOCK_STREAM, 0), udp = socket(AF_INET, SOCK_DGRAM, 0);
	MUST(!bind(tcp, (void *)&a, sizeof a) && !listen(tcp, 5) && !bind(udp, (void *)&a, sizeof a));
	struct sockaddr_un u = {.sun_family = AF_UNIX, .sun_path = "socket"};
	int un = socket(AF_UNIX, SOCK_STREAM, 0), client = socket(AF_UNIX, SOCK_STREAM, 0);
	MUST(!bind(un, (void *)&u, sizeof u) && !listen(un, 5) && !connect(client, (void *)&u, sizeof u) && accept(un, 0, 0) >= 0);
	int e = eventfd(5, 0), ep = epoll_create1(0);
	struct epoll_event ev = {EPOLLIN, {.u64 = 7}};
	MUST(!epoll_ctl(ep, EPOLL_CTL_ADD, e, &ev) && !epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &ev));
	MUST(!flock(file("file"), LOCK_EX));
	struct flock lock = {.l_type = F_WRLCK, .l_len = 2};
	MUST(!fcntl(file("locked"), F_SETLK, &lock));
	MUST(file("gone") && !unlink("gone"));
	MUST(!symlink("nowhere", "link") && open("link", O_PATH | O_NOFOLLOW) >= 0);
	MUST(mq_open("/ckpt-everything", O_RDWR | O_CREAT, 0600, 0) >= 0 && !mq_unlink("/ckpt-everything"));
	MUST(inotify_add_watch(inotify_init1(IN_NONBLOCK), "file", IN_MODIFY) == 1);
	int master = posix_openpt(O_RDWR | O_NOCTTY);
	MUST(master >= 0 && !unlockpt(master) && open(ptsname(master), O_RDWR | O_NOCTTY) >= 0);
	struct io_uring_params params = {0};
	int ring = syscall(SYS_io_uring_setup, 4, &params);
	MUST(ring >= 0 && mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING) != MAP_FAILED);
	MUST(!mkfifo("fifo", 0600) && open("fifo", O_RDWR) >= 0);
	MUST(open("/proc/self/status", O_RDONLY) >= 0 && syscall(SYS_pidfd_open, getpid(), 0) >= 0);
}

static void memory(void) {
	int m = memfd_create("m", MFD_ALLOW_SEALING);
	MUST(!ftruncate(m, 8192) && write(m, "data", 4) == 4);
	MUST(mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, m, 0) != MAP_FAILED);
	char *a = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	MUST(a != MAP_FAILED);
	a[0] = 1;
	int id = shmget(IPC_PRIVATE, 4096, 0600);
	char *sh = shmat(id, 0, 0);
	MUST(sh != (char *)-1 && !shmctl(id, IPC_RMID, 0));
	sh[0] = 2;
}

static void timers(void) {
	timer_t t;
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	struct itimerspec hour = {{0}, {3600, 0}};
	int fd = timerfd_create(CLOCK_MONOTONIC, 0);
	struct itimerval also = {{0}, {3600, 0}};
	MUST(!timer_create(CLOCK_MONOTONIC, &ev, &t) && !timer_settime(t, 0, &hour, 0) && !setitimer(ITIMER_REAL, &also, 0) && !timerfd_settime(fd, 0, &hour, 0));
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	signal(SIGUSR2, SIG_IGN);
	MUST(!sigprocmask(SIG_BLOCK, &set, 0) && !raise(SIGUSR1) && signalfd(-1, &set, SFD_NONBLOCK) >= 0);
}

int main(void) {
	files();
	memory();
	timers();
	pthread_t thread;
	pid_t pid = fork();
	if (!pid) {
		MUST(setsid() > 0);
		fork();
		rest(0);
	}
	if (!(pid = fork()))
		_exit(3);
	if (!(pid = fork())) {
		setpgid(0, 0);
		rest(0);
	}
	siginfo_t ended;
	MUST(!waitid(P_ALL, 0, &ended, WEXITED | WNOWAIT));
	MUST(!pthread_create(&thread, 0, rest, 0));
	MUST(!close(file("ready")));
	rest(0);
}
