/* A random tree of random state, by a seed: argv[1]. Every process notes what it
 * can see of itself, and looks again after the restore. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX = 24, TEXT = 16384 };

static volatile struct {
	int n, ready, noted, phase, told;
	pid_t pid[MAX];
	char gone[MAX], said[MAX][400];
	volatile int umask_taken;
} *box;
static unsigned long long random_state;
static char home[4096];

static unsigned rnd(unsigned n)
{
	random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (random_state >> 33) % n;
}

static void whose(char *to, const char *what, pid_t id, pid_t roots)
{
	int known = 0;

	for (int i = 0; i < box->n; i++)
		known |= box->pid[i] == id;
	/* Outer ones may become the root's. */
	if (known && id != roots)
		sprintf(to, "%s %d\n", what, id);
	else
		sprintf(to, "%s root's or outside\n", what);
}

/* look writes down what the process sees of itself. */
static void look(char *to)
{
	sigset_t blocked, pending;
	struct rlimit core;
	struct stat st;
	char cwd[4096] = "", name[17] = "";
	mode_t mask;

	/* It is read by setting it, and another process may share it. */
	while (__sync_lock_test_and_set(&box->umask_taken, 1))
		sched_yield();
	mask = umask(0);
	umask(mask);
	__sync_lock_release(&box->umask_taken);
	sigprocmask(SIG_BLOCK, NULL, &blocked);
	sigpending(&pending);
	getrlimit(RLIMIT_CORE, &core);
	prctl(PR_GET_NAME, name);
	if (!getcwd(cwd, sizeof cwd))
		strcpy(cwd, "?");
	to += sprintf(to, "ppid %d\n", getpid() == box->pid[0] ? 0 : getppid());
	whose(to, "session", getsid(0), getsid(box->pid[0])), to += strlen(to);
	whose(to, "group", getpgrp(), getpgid(box->pid[0])), to += strlen(to);
	to += sprintf(to, "umask %o cwd %s uid %d %d gid %d blocked %lx pending %lx core %ld nice %d name %s\n", mask, cwd, getuid(), geteuid(), getgid(),
		*(long *)&blocked, *(long *)&pending, (long)core.rlim_cur, getpriority(PRIO_PROCESS, 0), name);
	for (int fd = 3; fd < 300; fd++) {
		if (fstat(fd, &st) || fd == 3 || fd == 4 || fd == 62 || fd == 63) /* which may lead outside, and bash leaks */
			continue;
		to += sprintf(to, "fd %d flags %d %x type %o at %ld inode %ld\n", fd, fcntl(fd, F_GETFD), fcntl(fd, F_GETFL), st.st_mode & S_IFMT,
			S_ISREG(st.st_mode) ? (long)lseek(fd, 0, SEEK_CUR) : 0, S_ISREG(st.st_mode) && st.st_nlink ? (long)st.st_ino : 0);
	}
}

static void *idle(void *how)
{
	if (how)
		unshare((long)how);
	for (;;)
		pause();
	return NULL;
}

/* put writes what there is room for. */
static void put(int fd, const char *text, int n) { syscall(SYS_write, fd, text, n); }

static void open_something(int id)
{
	char name[5000], text[100] = "some bytes to have";
	int p[2], fd;

	sprintf(name, "%s/file-%d-%u", home, id, rnd(4));
	switch (rnd(10)) {
	case 0:
		if (pipe(p) == 0)
			put(p[1], text, rnd(100));
		break;
	case 1:
		if (socketpair(AF_UNIX, rnd(2) ? SOCK_STREAM : SOCK_DGRAM, 0, p) == 0)
			send(p[0], text, 1 + rnd(50), 0);
		break;
	case 2:
		eventfd(rnd(1000), EFD_NONBLOCK);
		break;
	case 3:
		put(memfd_create("m", rnd(2) ? MFD_CLOEXEC : 0), text, 50);
		break;
	case 4: {
		struct epoll_event e = {.events = EPOLLIN};
		int ep = epoll_create1(0);
		if (pipe(p) == 0)
			epoll_ctl(ep, EPOLL_CTL_ADD, p[0], &e);
		break;
	}
	case 5:
		open(rnd(2) ? "/" : "/dev/null", O_RDONLY);
		break;
	case 6:
		fd = open(name, O_RDWR | O_CREAT, 0666);
		put(fd, text, 20);
		if (rnd(2))
			unlink(name);
		break;
	case 7:
		fd = open(name, O_RDWR | O_CREAT | O_APPEND, 0666);
		flock(fd, LOCK_SH | LOCK_NB);
		break;
	case 8:
		dup(5 + rnd(10));
		break;
	case 9:
		fcntl(5 + rnd(10), F_SETFD, FD_CLOEXEC);
	}
}

static void change_something(void)
{
	sigset_t set;
	pthread_t t;
	int how;

	switch (rnd(10)) {
	case 0:
		umask(rnd(0777));
		break;
	case 1:
		syscall(SYS_chdir, rnd(2) ? "/" : "/usr");
		break;
	case 2:
		setpriority(PRIO_PROCESS, 0, rnd(19));
		break;
	case 3:
		sigemptyset(&set), sigaddset(&set, SIGUSR1 + 2 * rnd(2)), sigprocmask(SIG_BLOCK, &set, NULL);
		if (rnd(2))
			kill(getpid(), SIGUSR1), kill(getpid(), SIGUSR2);
		break;
	case 4:
		prctl(PR_SET_NAME, rnd(2) ? "another" : "odd) name");
		break;
	case 5:
		setrlimit(RLIMIT_CORE, &(struct rlimit){rnd(100), RLIM_INFINITY});
		break;
	case 6:
		setsid();
		break;
	case 7:
		setpgid(0, rnd(2) ? 0 : box->pid[rnd(box->n)]);
		break;
	case 8:
		how = rnd(4);
		pthread_create(&t, NULL, idle, (void *)(how == 0 ? (long)CLONE_FILES : how == 1 ? (long)CLONE_FS : 0L));
		break;
	case 9:
		unshare(rnd(2) ? CLONE_FILES : CLONE_FS);
	}
}

static void live(int id, int depth);

static void bear(int depth)
{
	static const unsigned long kinds[] = {0, 0, 0, CLONE_FILES, CLONE_FS, CLONE_FILES | CLONE_FS, CLONE_SYSVSEM, CLONE_IO, CLONE_PARENT, CLONE_PARENT | CLONE_FILES};
	unsigned long flags = kinds[rnd(sizeof kinds / sizeof *kinds)];
	int id = __sync_fetch_and_add(&box->n, 1);

	if (id >= MAX) {
		__sync_fetch_and_sub(&box->n, 1);
		return;
	}
	if (depth == 0)
		flags &= ~CLONE_PARENT;
	unsigned seed = rnd(1 << 30);
	pid_t pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
	if (pid == 0) {
		random_state = seed;
		box->pid[id] = getpid();
		live(id, depth + 1);
	}
	if (pid < 0)
		box->gone[id] = 1, __sync_fetch_and_add(&box->ready, 1);
}

static void end(int id)
{
	box->gone[id] = 1;
	__sync_fetch_and_add(&box->ready, 1);
	if (rnd(2))
		_exit(rnd(256));
	raise(SIGKILL);
}

static void wait_for(volatile int *what, int n)
{
	while (*what < n)
		usleep(2000);
}

static void live(int id, int depth)
{
	static char before[TEXT], after[TEXT];
	int acts = 2 + rnd(7);

	prctl(PR_SET_NAME, "property");
	while (acts-- > 0) {
		unsigned what = rnd(10);
		if (what < 4)
			open_something(id);
		else if (what < 7)
			change_something();
		else if (depth < 4)
			bear(depth);
	}
	if (id && rnd(5) == 0)
		end(id);
	if (id && rnd(6) == 0) {
		syscall(SYS_setresgid, 65534, 65534, 65534);
		syscall(SYS_setresuid, 65534, 65534, 65534);
	}
	__sync_fetch_and_add(&box->ready, 1);
	if (id == 0)
		return;
	wait_for(&box->phase, 1);
	look(before);
	__sync_fetch_and_add(&box->noted, 1);
	if (rnd(8) == 0)
		raise(SIGSTOP);
	wait_for(&box->phase, 2);
	look(after);
	if (strcmp(before, after)) {
		int i = 0;
		while (before[i] == after[i])
			i++;
		while (i > 0 && before[i - 1] != '\n')
			i--;
		snprintf((char *)box->said[id], sizeof box->said[id], "was: %.150s, is: %.150s", before + i, after + i);
	}
	__sync_fetch_and_add(&box->told, 1);
	wait_for(&box->phase, 3);
	_exit(0);
}

int main(int argc, char **argv)
{
	static char before[TEXT], after[TEXT];
	int alive = 0, bad = 0;

	box = mmap(NULL, sizeof *box, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	syscall(SYS_getcwd, home, sizeof home);
	random_state = atoi(argv[1]) * 7919 + 17;
	rnd(2);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	signal(SIGUSR1, SIG_IGN);
	signal(SIGUSR2, SIG_IGN);
	signal(SIGTTOU, SIG_IGN);
	box->n = 1;
	box->pid[0] = getpid();
	live(0, 0);
	do
		usleep(20000);
	while (box->ready < box->n);
	for (int i = 1; i < box->n; i++)
		alive += !box->gone[i];
	usleep(50000); /* those that end have ended */
	look(before);
	box->phase = 1;
	wait_for(&box->noted, alive);
	usleep(20000);
	dprintf(1, "ready\n");
	while (access(argv[2], F_OK))
		usleep(1000);
	box->phase = 2;
	for (int i = 1; i < box->n; i++)
		if (!box->gone[i])
			kill(box->pid[i], SIGCONT);
	for (int i = 0; box->told < alive && i < 60000; i++)
		usleep(1000);
	if (box->told < alive)
		dprintf(1, "only %d of %d answer\n", box->told, alive), bad++;
	look(after);
	if (strcmp(before, after))
		dprintf(1, "root: was:\n%sis:\n%s", before, after), bad++;
	for (int i = 1; i < box->n; i++)
		if (box->said[i][0])
			dprintf(1, "pid %d: %s\n", box->pid[i], box->said[i]), bad++;
	box->phase = 3;
	if (!bad)
		dprintf(1, "pass\n");
	return bad > 0;
}
