/* Pairs of unix sockets: what waits in them and its borders, options, ends that
 * are shut or closed. */
#include "check.h"
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>

static int option(int fd, int name)
{
	int v = -77;
	socklen_t n = sizeof v;
	getsockopt(fd, SOL_SOCKET, name, &v, &n);
	return v;
}

static void set(int fd, int name, int v)
{
	must(setsockopt(fd, SOL_SOCKET, name, &v, sizeof v) == 0);
}

static int pending(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};
	return poll(&p, 1, 0) == 1 ? p.revents : 0;
}

int main(void)
{
	static char big[300000], buf[300000];
	int s[2], d[2], q[2], full[2], half[2], gone[2], dgone[2], qgone[2], reset[2], peek[2], eof[2], lone, dlone, n = 0, k;
	struct timeval tv = {3, 500000};
	struct linger linger = {1, 7};
	socklen_t len;

	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < sizeof big; i++)
		big[i] = i * 2654435761u >> 24;
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) == 0);
	must(write(s[0], "abc", 3) == 3 && write(s[0], "defg", 4) == 4 && write(s[1], "back", 4) == 4);
	must(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, d) == 0);
	must(send(d[0], "one", 3, 0) == 3 && send(d[0], "", 0, 0) == 0 && send(d[0], "three", 5, 0) == 5);
	must(send(d[0], big, 100000, 0) == 100000 && send(d[0], "", 0, 0) == 0);
	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, q) == 0);
	must(send(q[1], "first", 5, 0) == 5 && send(q[1], "", 0, 0) == 0 && send(q[1], "second", 6, 0) == 6);
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, full) == 0);
	set(full[0], SO_SNDBUF, 300000);
	while ((k = write(full[0], big + n % 1000, 7000)) > 0)
		n += k;

	must(socketpair(AF_UNIX, SOCK_STREAM, 0, half) == 0);
	must(write(half[0], "last words", 10) == 10 && shutdown(half[0], SHUT_WR) == 0);
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, gone) == 0 && write(gone[1], "bye", 3) == 3 && close(gone[1]) == 0);
	must(socketpair(AF_UNIX, SOCK_DGRAM, 0, dgone) == 0 && write(dgone[1], "dbye", 4) == 4 && close(dgone[1]) == 0);
	must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, qgone) == 0 && write(qgone[1], "qbye", 4) == 4 && close(qgone[1]) == 0);
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, reset) == 0 && write(reset[0], "unread", 6) == 6);
	must(write(reset[1], "rest", 4) == 4 && close(reset[1]) == 0);
	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, eof) == 0 && shutdown(eof[0], SHUT_RDWR) == 0);
	must(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, peek) == 0);
	set(peek[0], SO_PEEK_OFF, 4);
	must(send(peek[1], "0123", 4, 0) == 4 && send(peek[1], "4567", 4, 0) == 4);

	must((lone = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0 && (dlone = socket(AF_UNIX, SOCK_DGRAM, 0)) >= 0);
	set(s[0], SO_PASSCRED, 1);
	set(s[0], SO_SNDBUF, 5000);
	set(s[1], SO_RCVBUF, 60000);
	set(s[1], SO_PRIORITY, 3);
	set(s[1], SO_RCVLOWAT, 2);
	must(setsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv) == 0);
	must(setsockopt(s[1], SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv) == 0);
	must(setsockopt(s[1], SOL_SOCKET, SO_LINGER, &linger, sizeof linger) == 0);
	int sndbuf0 = option(s[0], SO_SNDBUF), rcvbuf1 = option(s[1], SO_RCVBUF), dsnd = option(d[0], SO_SNDBUF);
	int locks = option(s[0], 72);
	save_me();

	check(fcntl(s[0], F_GETFD) == FD_CLOEXEC && !(fcntl(s[0], F_GETFL) & O_NONBLOCK) && fcntl(d[0], F_GETFL) & O_NONBLOCK);
	check(option(s[0], SO_SNDBUF) == sndbuf0 && option(s[1], SO_RCVBUF) == rcvbuf1 && option(d[0], SO_SNDBUF) == dsnd);
	check(option(s[0], SO_PASSCRED) == 1 && option(s[1], SO_PASSCRED) == 0 && option(s[1], SO_PRIORITY) == 3);
	check(option(s[1], SO_RCVLOWAT) == 2 && option(s[0], 72) == locks && option(s[0], SO_PEEK_OFF) == -1);
	memset(&tv, 0, sizeof tv), len = sizeof tv;
	check(getsockopt(s[0], SOL_SOCKET, SO_RCVTIMEO, &tv, &len) == 0 && tv.tv_sec == 3 && tv.tv_usec == 500000);
	check(getsockopt(s[0], SOL_SOCKET, SO_SNDTIMEO, &tv, &len) == 0 && tv.tv_sec == 0 && tv.tv_usec == 0);
	check(getsockopt(s[1], SOL_SOCKET, SO_SNDTIMEO, &tv, &len) == 0 && tv.tv_sec == 3 && tv.tv_usec == 500000);
	memset(&linger, 0, sizeof linger), len = sizeof linger;
	check(getsockopt(s[1], SOL_SOCKET, SO_LINGER, &linger, &len) == 0 && linger.l_onoff == 1 && linger.l_linger == 7);

	check(read(s[1], buf, sizeof buf) == 7 && !memcmp(buf, "abcdefg", 7));
	check(read(s[0], buf, sizeof buf) == 4 && !memcmp(buf, "back", 4));
	check(write(s[1], "pong", 4) == 4 && read(s[0], buf, sizeof buf) == 4 && !memcmp(buf, "pong", 4));
	check(recv(d[1], buf, sizeof buf, 0) == 3 && !memcmp(buf, "one", 3));
	check(recv(d[1], buf, sizeof buf, 0) == 0, "an empty message");
	check(recv(d[1], buf, sizeof buf, 0) == 5 && !memcmp(buf, "three", 5));
	check(recv(d[1], buf, sizeof buf, 0) == 100000 && !memcmp(buf, big, 100000));
	check(recv(d[1], buf, sizeof buf, 0) == 0, "an empty message at the end");
	check(recv(d[1], buf, sizeof buf, 0) == -1 && errno == EAGAIN && recv(d[0], buf, sizeof buf, 0) == -1);
	check(recv(q[0], buf, sizeof buf, 0) == 5 && recv(q[0], buf, sizeof buf, 0) == 0 && recv(q[0], buf, sizeof buf, 0) == 6);
	check(recv(q[0], buf, sizeof buf, 0) == -1 && errno == EAGAIN);
	int got = 0;
	while ((k = read(full[1], buf, 7000)) > 0) {
		check(!memcmp(buf, big + got % 1000, k > 7000 - got % 7000 ? 7000 - got % 7000 : k), "at %d", got);
		got += k;
	}
	check(got == n && k == -1 && errno == EAGAIN, "%d of %d", got, n);

	check(read(half[1], buf, sizeof buf) == 10 && read(half[1], buf, sizeof buf) == 0);
	check(write(half[0], "x", 1) == -1 && errno == EPIPE && write(half[1], "y", 1) == 1 && read(half[0], buf, 9) == 1);
	check(read(gone[0], buf, sizeof buf) == 3 && read(gone[0], buf, sizeof buf) == 0 && write(gone[0], "x", 1) == -1 && errno == EPIPE);
	check(read(qgone[0], buf, sizeof buf) == 4 && read(qgone[0], buf, sizeof buf) == 0);
	check(read(dgone[0], buf, sizeof buf) == 4 && send(dgone[0], "x", 1, 0) == -1 && errno == ECONNREFUSED);
	check(pending(reset[0]) & POLLERR && read(reset[0], buf, sizeof buf) == 4);
	check(read(reset[0], buf, sizeof buf) == -1 && errno == ECONNRESET && read(reset[0], buf, sizeof buf) == 0);
	check(recv(eof[0], buf, sizeof buf, 0) == 0 && recv(eof[1], buf, sizeof buf, 0) == 0);
	check(option(peek[0], SO_PEEK_OFF) == 4 && recv(peek[0], buf, sizeof buf, MSG_PEEK) == 4 && !memcmp(buf, "4567", 4));
	check(recv(peek[0], buf, sizeof buf, 0) == 4 && !memcmp(buf, "0123", 4));
	check(write(lone, "x", 1) == -1 && errno == ENOTCONN && send(dlone, "x", 1, 0) == -1 && errno == ENOTCONN);
	return finish();
}
