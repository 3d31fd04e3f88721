/* A side that was shut down for writing, with data on the way, and one for
 * reading. */
#include "check.h"
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

int main(void)
{
	char buf[64];
	int w[2], r[2], both[2];

	signal(SIGPIPE, SIG_IGN);
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, w) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, r) == 0 && socketpair(AF_UNIX, SOCK_SEQPACKET, 0, both) == 0);
	must(write(w[0], "on the way", 10) == 10 && shutdown(w[0], SHUT_WR) == 0 && write(w[1], "back", 4) == 4);
	must(write(r[1], "before", 6) == 6 && shutdown(r[0], SHUT_RD) == 0);
	must(write(both[0], "packet", 6) == 6 && shutdown(both[0], SHUT_RDWR) == 0);
	save_me();
	struct pollfd p = {w[1], POLLIN | POLLRDHUP, 0};
	check(poll(&p, 1, 0) == 1 && p.revents == (POLLIN | POLLRDHUP), "%#x", p.revents);
	check(write(w[0], "x", 1) == -1 && errno == EPIPE);
	check(read(w[1], buf, sizeof buf) == 10 && !memcmp(buf, "on the way", 10));
	check(read(w[1], buf, sizeof buf) == 0 && read(w[1], buf, sizeof buf) == 0);
	check(write(w[1], "wards", 5) == 5 && read(w[0], buf, sizeof buf) == 9 && !memcmp(buf, "backwards", 9));

	check(write(r[1], "x", 1) == -1 && errno == EPIPE);
	check(read(r[0], buf, sizeof buf) == 6 && !memcmp(buf, "before", 6) && read(r[0], buf, sizeof buf) == 0);
	check(write(r[0], "to you", 6) == 6 && read(r[1], buf, sizeof buf) == 6);

	check(write(both[0], "x", 1) == -1 && errno == EPIPE && write(both[1], "x", 1) == -1 && errno == EPIPE);
	check(read(both[1], buf, sizeof buf) == 6 && read(both[1], buf, sizeof buf) == 0 && read(both[0], buf, sizeof buf) == 0);
	return finish();
}
