/* Leases (F_SETLEASE) for reading and for writing: which process and descriptor is told that
 * somebody opens the file, and by which signal; one that a child shares, one on a deleted file,
 * one of another user, one whose signals another process gets. */
#include "kids.h"
#include <sys/stat.h>
#include <sys/types.h>

static int shared;
static volatile int told, by_fd;

static void on_signal(int sig, siginfo_t *info, void *context)
{
	told = sig;
	by_fd = info->si_fd;
	(void)context;
}

static void listen_to(int sig)
{
	struct sigaction a = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};

	must(sigaction(sig, &a, NULL) == 0);
}

/* leased opens a file, which may be there, and takes a lease on it. */
static int leased(const char *name, int flags, int kind, int sig)
{
	int fd = open(name, O_CREAT | O_RDWR, 0644);

	must(fd >= 0 && close(fd) == 0 && (fd = open(name, flags)) >= 0);
	must(!sig || fcntl(fd, F_SETSIG, sig) == 0);
	must(fcntl(fd, F_SETLEASE, kind) == 0);
	return fd;
}

/* opens has a process of its own open a file, which breaks the lease on it. */
static void opens(const char *name, int flags, int sig, int fd)
{
	int status;
	pid_t pid;

	told = 0;
	if ((pid = fork()) == 0)
		_exit(open(name, flags | O_NONBLOCK) == -1 && errno == EWOULDBLOCK ? 0 : 1);
	while (waitpid(pid, &status, 0) == -1 && errno == EINTR)
		;
	check(status == 0, "%s is opened without asking", name);
	check(sig == 0 ? told == 0 : within(told == sig) && (fd < 0 || by_fd == fd), "%s: signal %d of fd %d, not %d of %d", name, told, by_fd, sig, fd);
}

static void user(int unused)
{
	must(setresuid(1000, 1000, 1000) == 0);
	listen_to(SIGRTMIN);
	int fd = leased("users", O_RDONLY, F_RDLCK, SIGRTMIN);
	wait_restored();
	check(fcntl(fd, F_GETLEASE) == F_RDLCK);
	opens("users", O_WRONLY, SIGRTMIN, fd);
	check(fcntl(fd, F_SETLEASE, F_UNLCK) == 0);
	(void)unused;
}

static void sharer(int unused)
{
	wait_restored();
	check(fcntl(shared, F_GETLEASE) == F_WRLCK);
	(void)unused;
}

static void hearer(int fd)
{
	listen_to(SIGRTMIN + 2);
	wait_restored();
	check(within(told == SIGRTMIN + 2), "the child is not told");
	(void)fd;
}

int main(void)
{
	struct stat st;
	int write_only, plain, gone, others;

	must(chmod(".", 0777) == 0);
	listen_to(SIGIO);
	listen_to(SIGRTMIN + 1);
	shared = leased("shared", O_RDWR, F_WRLCK, SIGRTMIN + 1);
	plain = leased("plain", O_RDONLY, F_RDLCK, 0);
	write_only = leased("write", O_WRONLY, F_WRLCK, SIGRTMIN + 1);
	gone = leased("gone", O_RDONLY, F_RDLCK, SIGRTMIN + 1);
	must(unlink("gone") == 0);
	start_kid(user, 0);
	start_kid(sharer, 0);
	start_kid(hearer, 0);
	others = open("others", O_CREAT | O_RDWR, 0600);
	must(others >= 0 && fcntl(others, F_SETSIG, SIGRTMIN + 2) == 0 && fcntl(others, F_SETOWN, kid_pid[2]) == 0 && fcntl(others, F_SETLEASE, F_WRLCK) == 0);
	save_me();
	check(told == 0, "signal %d: a lease was broken", told);
	check(fcntl(shared, F_GETLEASE) == F_WRLCK && fcntl(plain, F_GETLEASE) == F_RDLCK && fcntl(write_only, F_GETLEASE) == F_WRLCK);
	check(fcntl(gone, F_GETLEASE) == F_RDLCK && fstat(gone, &st) == 0 && st.st_nlink == 0);
	check(fcntl(plain, F_GETOWN) == getpid() && fcntl(others, F_GETOWN) == kid_pid[2]);
	opens("plain", O_WRONLY, SIGIO, -1);
	opens("write", O_RDONLY, SIGRTMIN + 1, write_only);
	opens("others", O_RDONLY, 0, -1);
	finish_kids();
	opens("shared", O_RDONLY, SIGRTMIN + 1, shared);
	return finish();
}
