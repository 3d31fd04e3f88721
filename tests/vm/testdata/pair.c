/* A process and its child send each other numbers over a stream and a datagram socket pair, until there is a file "go" */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void fail(const char *what)
{
	perror(what);
	printf("%s\n", what);
	fflush(stdout);
	_exit(1);
}

static void get(int fd, long want, const char *what)
{
	long n;

	if (read(fd, &n, sizeof n) != sizeof n || n != want)
		fail(what);
}

static void put(int fd, long n)
{
	if (write(fd, &n, sizeof n) != sizeof n)
		fail("write");
}

int main(void)
{
	int stream[2], datagram[2], status;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, stream) || socketpair(AF_UNIX, SOCK_SEQPACKET, 0, datagram))
		fail("socketpair");
	pid_t child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(stream[0]);
		close(datagram[0]);
		for (long n = 0;; n++) {
			long m;
			if (read(stream[1], &m, sizeof m) == 0)
				_exit(7);
			if (m != n)
				fail("the child's stream");
			put(datagram[1], n * 3);
		}
	}
	close(stream[1]);
	close(datagram[1]);
	long n = 0;
	for (int over = -1; over < 0 || over > 0; n++) {
		put(stream[0], n);
		get(datagram[0], n * 3, "the parent's datagrams");
		if (over < 0 && access("go", F_OK) == 0)
			over = 1000;
		else if (over > 0)
			over--;
	}
	close(stream[0]);
	if (waitpid(child, &status, 0) != child || status != 7 << 8)
		fail("the child's end");
	puts("pass");
	return 0;
}
