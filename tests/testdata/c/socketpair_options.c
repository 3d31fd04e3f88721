/* Options of sockets, and what they do: sizes of buffers, credentials, time
 * limits. */
#include "check.h"
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

static int get(int s, int option)
{
	int v = -1;
	socklen_t n = sizeof v;

	return getsockopt(s, SOL_SOCKET, option, &v, &n) == 0 ? v : -1;
}

static int set(int s, int option, int v) { return setsockopt(s, SOL_SOCKET, option, &v, sizeof v); }

static struct timeval limit(int s, int option)
{
	struct timeval tv = {-1, -1};
	socklen_t n = sizeof tv;

	getsockopt(s, SOL_SOCKET, option, &tv, &n);
	return tv;
}

int main(void)
{
	struct timeval receive = {0, 200000}, transmit = {3, 500000}, tv;
	struct timespec a, b;
	struct ucred cred = {0};
	char buf[64], control[CMSG_SPACE(sizeof cred)];
	struct iovec iov = {buf, sizeof buf};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	int s[2];

	must(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
	must(set(s[0], SO_SNDBUF, 50000) == 0 && set(s[0], SO_RCVBUF, 60000) == 0 && set(s[1], SO_SNDBUF, 5000) == 0 && set(s[1], SO_PASSCRED, 1) == 0);
	must(setsockopt(s[1], SOL_SOCKET, SO_RCVTIMEO, &receive, sizeof receive) == 0 && setsockopt(s[0], SOL_SOCKET, SO_SNDTIMEO, &transmit, sizeof transmit) == 0);
	int before[2][3] = {{get(s[0], SO_SNDBUF), get(s[0], SO_RCVBUF), get(s[0], SO_PASSCRED)}, {get(s[1], SO_SNDBUF), get(s[1], SO_RCVBUF), get(s[1], SO_PASSCRED)}};
	must(before[0][0] == 100000 && before[0][1] == 120000 && before[1][0] == 10000 && before[1][2] == 1);
	save_me();
	for (int i = 0; i < 2; i++) {
		check(get(s[i], SO_SNDBUF) == before[i][0], "%d", get(s[i], SO_SNDBUF));
		check(get(s[i], SO_RCVBUF) == before[i][1], "%d", get(s[i], SO_RCVBUF));
		check(get(s[i], SO_PASSCRED) == before[i][2], "%d", get(s[i], SO_PASSCRED));
	}
	tv = limit(s[1], SO_RCVTIMEO);
	check(tv.tv_sec == 0 && tv.tv_usec == 200000, "%ld %ld", tv.tv_sec, tv.tv_usec);
	tv = limit(s[0], SO_SNDTIMEO);
	check(tv.tv_sec == 3 && tv.tv_usec == 500000, "%ld %ld", tv.tv_sec, tv.tv_usec);
	tv = limit(s[0], SO_RCVTIMEO);
	check(tv.tv_sec == 0 && tv.tv_usec == 0, "%ld %ld", tv.tv_sec, tv.tv_usec);

	check(write(s[0], "x", 1) == 1 && recvmsg(s[1], &msg, 0) == 1);
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	check(c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_CREDENTIALS, "no credentials came");
	if (c)
		memcpy(&cred, CMSG_DATA(c), sizeof cred);
	check(c && cred.pid == getpid(), "pid %d", cred.pid);

	clock_gettime(CLOCK_MONOTONIC, &a);
	check(read(s[1], buf, 1) == -1 && errno == EAGAIN);
	clock_gettime(CLOCK_MONOTONIC, &b);
	long ms = (b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000;
	check(ms >= 190 && ms < 2000, "it waited for %ld ms", ms);
	return finish();
}
