/* A server on port argv[1] that sends back all it gets on argv[2] connections, and never
 * rests. It ends with 0 when all of them have ended, and with the error that a call on one of
 * them made. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 64, ROOM = 4096 };

static int fds[MOST];
static char buf[MOST][ROOM];
static int has[MOST];

/* serve moves what there is on one connection; -1: it has ended. */
static int serve(int i)
{
	ssize_t n;

	if (has[i] < ROOM) {
		n = recv(fds[i], buf[i] + has[i], ROOM - has[i], 0);
		if (n == 0)
			return -1;
		if (n < 0 && errno != EAGAIN)
			_exit(errno);
		has[i] += n > 0 ? n : 0;
	}
	if (has[i] > 0) {
		n = send(fds[i], buf[i], has[i], MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN)
			_exit(errno);
		if (n > 0)
			memmove(buf[i], buf[i] + n, has[i] -= n);
	}
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(argc > 1 ? atoi(argv[1]) : 0)};
	int on = socket(AF_INET, SOCK_STREAM, 0), one = 1, all = argc > 2 ? atoi(argv[2]) : 1, left;

	if (all > MOST || setsockopt(on, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) || bind(on, (struct sockaddr *)&at, sizeof at) || listen(on, MOST))
		return 255;
	for (int i = 0; i < all; i++)
		if ((fds[i] = accept4(on, NULL, NULL, SOCK_NONBLOCK)) < 0)
			return 254;
	for (left = all; left > 0;)
		for (int i = 0; i < all; i++)
			if (fds[i] >= 0 && serve(i)) {
				close(fds[i]);
				fds[i] = -1;
				left--;
			}
	return 0;
}
