/* Sockets of IP on the loopback interface. */
#ifndef NET_H
#define NET_H
#include "check.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

typedef union {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_storage all;
} addr;

/* ip is an address and a port; an address with a colon is one of IPv6. */
static inline addr ip(const char *text, int port)
{
	addr a = {0};

	if (strchr(text, ':')) {
		a.in6.sin6_family = AF_INET6;
		a.in6.sin6_port = htons(port);
		must(inet_pton(AF_INET6, text, &a.in6.sin6_addr) == 1);
	} else {
		a.in.sin_family = AF_INET;
		a.in.sin_port = htons(port);
		must(inet_pton(AF_INET, text, &a.in.sin_addr) == 1);
	}
	return a;
}

static inline socklen_t size_of(addr *a) { return a->sa.sa_family == AF_INET ? sizeof a->in : sizeof a->in6; }
static inline int port_of(addr *a) { return ntohs(a->in.sin_port); }

static inline addr self(int s)
{
	addr a = {0};
	socklen_t n = sizeof a;

	getsockname(s, &a.sa, &n);
	return a;
}

/* peer_port is the port that a socket is connected to, -1 if it is not. */
static inline int peer_port(int s)
{
	addr a = {0};
	socklen_t n = sizeof a;

	return getpeername(s, &a.sa, &n) == 0 ? port_of(&a) : -1;
}

static inline int same_addr(addr a, addr b) { return memcmp(&a, &b, sizeof a) == 0; }

static inline int opt(int s, int level, int name)
{
	int v = -4711;
	socklen_t n = sizeof v;

	getsockopt(s, level, name, &v, &n);
	return v;
}

static inline int set(int s, int level, int name, int v) { return setsockopt(s, level, name, &v, sizeof v); }

static inline int bound(int type, addr a, int reuse)
{
	int s = socket(a.sa.sa_family, type, 0);

	must(s >= 0 && (!reuse || set(s, SOL_SOCKET, reuse, 1) == 0));
	must(bind(s, &a.sa, size_of(&a)) == 0);
	return s;
}

static inline int listener(const char *text, int port, int backlog)
{
	int s = bound(SOCK_STREAM, ip(text, port), SO_REUSEADDR);

	must(listen(s, backlog) == 0);
	return s;
}

static inline int dial(const char *text, int port)
{
	addr a = ip(text, port);
	int s = socket(a.sa.sa_family, SOCK_STREAM, 0);

	must(s >= 0);
	if (connect(s, &a.sa, size_of(&a)) == 0)
		return s;
	close(s);
	return -1;
}

/* ready reports which of these events a descriptor has, after some time at most. */
static inline int events(int fd, int wanted, int ms)
{
	struct pollfd p = {fd, wanted, 0};

	return poll(&p, 1, ms) == 1 ? p.revents : 0;
}

/* serves checks that a listener takes a connection to an address and that both ends
 * talk. */
#define serves(listening, text, port) do { \
	char serves_c = 0; \
	int serves_a = dial(text, port), serves_b; \
	check(serves_a >= 0, "nobody listens on %s %d: %s", text, port, strerror(errno)); \
	if (serves_a < 0) \
		break; \
	serves_b = accept(listening, NULL, NULL); \
	check(serves_b >= 0, "%s", strerror(errno)); \
	check(write(serves_a, "x", 1) == 1 && read(serves_b, &serves_c, 1) == 1 && serves_c == 'x'); \
	close(serves_a); \
	close(serves_b); \
} while (0)

/* outside runs body(fd) in a process that is not of the tree; fd is connected to a
 * listener. It ends with this program at the latest. */
static inline void outside(void (*body)(int, int), int listening, int arg)
{
	addr to = self(listening);
	int status, s;
	pid_t pid, other;

	fflush(stdout);
	must((pid = fork()) >= 0);
	if (pid == 0) {
		if ((other = fork()))
			_exit(other < 0);
		setsid();
		alarm(300);
		for (int fd = 0; fd < 100; fd++)
			close(fd);
		s = socket(to.sa.sa_family, SOCK_STREAM, 0);
		if (connect(s, &to.sa, size_of(&to)) == 0)
			body(s, arg);
		_exit(0);
	}
	must(waitpid(pid, &status, 0) == pid && status == 0);
}

/* stays waits until the other end is gone. */
static inline void stays(int s)
{
	struct pollfd p = {s, POLLRDHUP, 0};

	poll(&p, 1, -1);
}
#endif
