/* pidfds, as far as libc has no functions for them. */
#ifndef PIDFD_H
#define PIDFD_H
#include "check.h"
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif
#define THREAD O_EXCL /* PIDFD_THREAD */

static inline int pidfd(pid_t pid, int flags)
{
	int fd = syscall(SYS_pidfd_open, pid, flags);

	must(fd >= 0);
	return fd;
}

static inline int send_signal(int fd, int sig) { return syscall(SYS_pidfd_send_signal, fd, sig, NULL, 0); }

/* polled returns what poll(2) says at once. */
static inline int polled(int fd)
{
	struct pollfd p = {fd, POLLIN};

	must(poll(&p, 1, 0) >= 0);
	return p.revents;
}

/* stands_for returns the process that a pidfd stands for, -1 if that is gone. */
static inline int stands_for(int fd)
{
	char name[64], line[256];
	int pid = -2;
	FILE *f;

	snprintf(name, sizeof name, "/proc/self/fdinfo/%d", fd);
	must((f = fopen(name, "r")) != NULL);
	while (fgets(line, sizeof line, f))
		sscanf(line, "Pid: %d", &pid);
	fclose(f);
	return pid;
}

/* ended_with returns the status of a process that was waited for; -1 if the kernel
 * does not know such things. */
static inline int ended_with(int fd)
{
	struct { uint64_t mask, cgroup; uint32_t ids[11]; int32_t code; } info = {.mask = 1 << 3};

	if (ioctl(fd, _IOWR(0xff, 11, info), &info) || !(info.mask & 1 << 3))
		return -1;
	return info.code;
}

static inline ino_t inode(int fd)
{
	struct stat st;

	must(fstat(fd, &st) == 0);
	return st.st_ino;
}

/* gone checks what a pidfd says of a process that was waited for. */
#define gone(fd) do { \
	check(stands_for(fd) == -1, "%d", stands_for(fd)); \
	check(polled(fd) & POLLIN, "%#x", polled(fd)); \
	check(send_signal(fd, 0) == -1 && errno == ESRCH); \
} while (0)
#endif
