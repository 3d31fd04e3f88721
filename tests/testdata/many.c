/* argv[2] threads ("threads"), processes ("processes", one parent with all the others as
 * children), open files ("descriptors") or TCP connections to a program outside in one
 * epoll ("connections"), which wait for the file "go" or to be killed. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void *rest(void *arg)
{
	for (;;)
		pause();
	return arg;
}

/* open_files opens n files, each by its own name. */
static int open_files(int n)
{
	char name[32];

	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof name, "file%d", i);
		if (open(name, O_RDWR | O_CREAT, 0600) < 0)
			return 2;
	}
	return 0;
}

/* client connects n times, and stays for as long as the other side does. */
static void client(struct sockaddr_in *to, int n)
{
	char c;
	int s = -1;

	if (fork() != 0) /* it is not of the tree */
		_exit(0);
	for (int i = 0; i < 3; i++)
		close(i);
	for (int i = 0; i < n; i++)
		if ((s = socket(AF_INET, SOCK_STREAM, 0)) < 0 || connect(s, (void *)to, sizeof *to))
			_exit(1);
	_exit(read(s, &c, 1) > 0);
}

static int connect_all(int n)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof at;
	int on = socket(AF_INET, SOCK_STREAM, 0), epoll = epoll_create1(0);
	pid_t pid;

	if (bind(on, (void *)&at, len) || listen(on, 4096) || getsockname(on, (void *)&at, &len) || (pid = fork()) < 0)
		return 2;
	if (pid == 0)
		client(&at, n);
	waitpid(pid, NULL, 0);
	for (int i = 0; i < n; i++) {
		struct epoll_event e = {EPOLLIN, {.fd = accept(on, NULL, NULL)}};

		if (epoll_ctl(epoll, EPOLL_CTL_ADD, e.data.fd, &e))
			return 2;
	}
	return close(on);
}

int main(int argc, char **argv)
{
	int n = atoi(argv[2]), threads = argv[1][0] == 't', processes = argv[1][0] == 'p', ended = 0;
	pid_t *pid = calloc(n, sizeof *pid);
	pthread_attr_t small;
	struct rlimit files;
	pthread_t t;

	if (pthread_attr_init(&small) || pthread_attr_setstacksize(&small, 64 << 10) || getrlimit(RLIMIT_NOFILE, &files))
		return 2;
	files.rlim_cur = files.rlim_max;
	if (argv[1][0] == 'd' && (setrlimit(RLIMIT_NOFILE, &files) || open_files(n)))
		return 2;
	if (argv[1][0] == 'c' && (setrlimit(RLIMIT_NOFILE, &files) || connect_all(n)))
		return 2;
	for (int i = 1; i < n; i++) {
		if (threads && pthread_create(&t, &small, rest, NULL))
			return 2;
		if (processes && (pid[i] = fork()) == 0)
			rest(NULL);
		if (pid[i] < 0)
			return 2;
	}
	printf("ready\n");
	fflush(stdout);
	while (access("go", F_OK))
		usleep(10000);
	for (int i = 1; i < n && processes; i++) {
		int status;

		kill(pid[i], SIGTERM);
		ended += waitpid(pid[i], &status, 0) == pid[i] && WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM;
	}
	printf(!processes || ended == n - 1 ? "pass\n" : "%d of them ended\n", ended);
	return 0;
}
