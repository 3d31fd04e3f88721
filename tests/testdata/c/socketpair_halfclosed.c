/* Sockets whose peer is closed, with data left to read, and without. */
#include "check.h"
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};

int main(void)
{
	int left[3], without[3], s[2];
	char buf[64];

	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < 3; i++) {
		must(socketpair(AF_UNIX, types[i], 0, s) == 0 && write(s[1], "left", 4) == 4 && write(s[1], "over", 4) == 4 && close(s[1]) == 0);
		left[i] = s[0];
		must(socketpair(AF_UNIX, types[i], 0, s) == 0 && close(s[1]) == 0);
		without[i] = s[0];
	}
	save_me();
	for (int i = 0; i < 2; i++) {
		struct pollfd p = {left[i], POLLIN | POLLRDHUP, 0};
		check(poll(&p, 1, 0) == 1 && p.revents == (POLLIN | POLLRDHUP | POLLHUP), "%#x", p.revents);
		check(write(left[i], "x", 1) == -1 && errno == EPIPE, "%s", strerror(errno));
		check(write(without[i], "x", 1) == -1 && errno == EPIPE, "%s", strerror(errno));
		check(read(left[i], buf, 5) == (i ? 4 : 5) && !memcmp(buf, "lefto", i ? 4 : 5));
		check(read(left[i], buf, sizeof buf) == (i ? 4 : 3));
		check(read(left[i], buf, sizeof buf) == 0 && read(without[i], buf, sizeof buf) == 0, "%s", strerror(errno));
	}
	check(recv(left[2], buf, sizeof buf, MSG_DONTWAIT) == 4 && !memcmp(buf, "left", 4) && recv(left[2], buf, sizeof buf, MSG_DONTWAIT) == 4);
	check(recv(left[2], buf, sizeof buf, MSG_DONTWAIT) == -1 && errno == EAGAIN, "%s", strerror(errno));
	check(write(left[2], "x", 1) == -1 && errno == ECONNREFUSED, "%s", strerror(errno));
	check(write(without[2], "x", 1) == -1 && errno == ECONNREFUSED, "%s", strerror(errno));
	return finish();
}
