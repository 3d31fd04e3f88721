/* The first thread has ended, and with it a descriptor table of its own; of those that go
 * on, each has a descriptor table and a working folder of its own, with a lock, a pipe and
 * an epoll. */
#include "first_ended.h"
#include "epoll.h"
#include <sys/stat.h>

static int fd, pipes[2], gone[2];
static char home[4096];

static int locked(void)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 10};
	pid_t pid = fork();
	int status = -1;

	if (pid == 0)
		_exit(fcntl(fd, F_GETLK, &l) != 0 || l.l_type == F_UNLCK || l.l_pid != getppid());
	waitpid(pid, &status, 0);
	return status == 0;
}

static void own(int i)
{
	char cwd[4096];
	int ep, n;

	must(syscall(SYS_unshare, CLONE_FILES | CLONE_FS) == 0 && dup2(0, 50) == 50 && chdir("/usr") == 0);
	must((ep = epoll_create1(0)) >= 0 && close(fd) == 0 && watch(ep, pipes[0], EPOLLIN, 9) == 0);
	wait_restored();
	check(fcntl(fd, F_GETFD) == -1 && fcntl(50, F_GETFD) == 0);
	check(getcwd(cwd, sizeof cwd) && !strcmp(cwd, "/usr"), "%s", cwd);
	check(event(ep, 9, &n) == EPOLLIN);
}

static void body(void)
{
	char b[8], cwd[4096];

	must(close(gone[1]) == 0 && read(gone[0], b, 1) == 0); /* the first thread had it open, too */
	start_thread(own, 0);
	save_me();
	check(locked());
	check(fcntl(60, F_GETFD) == -1 && fcntl(50, F_GETFD) == -1);
	check(getcwd(cwd, sizeof cwd) && !strcmp(cwd, home), "%s", cwd);
	finish_threads();
	check(read(pipes[0], b, sizeof b) == 5 && !memcmp(b, "hello", 5));
}

int main(void)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 10};
	pthread_t t;

	must(getcwd(home, sizeof home) && (fd = open("file", O_RDWR | O_CREAT, 0600)) >= 0 && fcntl(fd, F_SETLK, &l) == 0);
	must(pipe(pipes) == 0 && write(pipes[1], "hello", 5) == 5 && pipe(gone) == 0);
	lead_is = (struct lead){body, 3};
	must(pthread_create(&t, NULL, lead_on, NULL) == 0);
	must(syscall(SYS_unshare, CLONE_FILES | CLONE_FS) == 0 && dup2(gone[1], 60) == 60 && chdir("/") == 0);
	umask(077);
	syscall(SYS_exit, 3);
}
