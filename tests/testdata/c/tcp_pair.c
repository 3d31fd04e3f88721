/* TCP connections of which the tree has both ends, over IPv4, IPv6 and both, with bytes
 * on the way in both directions, shut down, full, waited on, watched; one end in a child. */
#include "kids.h"
#include "net.h"
#include "epoll.h"
#include <pthread.h>

static int blocked, got = -1;

static void *reads(void *arg)
{
	char c = 0;

	got = read(blocked, &c, 1) == 1 ? c : -errno;
	return NULL;
}

struct pair { int a, b; addr at[4]; };

static addr other(int s)
{
	addr a = {0};
	socklen_t n = sizeof a;

	getpeername(s, &a.sa, &n);
	return a;
}

static struct pair connected(int listening, const char *text)
{
	addr to = self(listening);
	struct pair p = {.a = dial(text, port_of(&to))};

	must(p.a >= 0 && (p.b = accept(listening, NULL, NULL)) >= 0);
	p.at[0] = self(p.a), p.at[1] = other(p.a), p.at[2] = self(p.b), p.at[3] = other(p.b);
	return p;
}

static int as_before(struct pair *p)
{
	return same_addr(p->at[0], self(p->a)) && same_addr(p->at[1], other(p->a)) && same_addr(p->at[2], self(p->b)) && same_addr(p->at[3], other(p->b));
}

static int gets(int s, const char *text)
{
	char buf[200] = {0};
	int n = strlen(text);

	return recv(s, buf, n, MSG_WAITALL) == n && memcmp(buf, text, n) == 0;
}

static int talk(struct pair *p)
{
	return write(p->a, "to b", 4) == 4 && gets(p->b, "to b") && write(p->b, "to a", 4) == 4 && gets(p->a, "to a");
}

static struct pair family;

static void child(int arg)
{
	close(family.b);
	must(write(family.a, "from the child", 14) == 14);
	wait_restored();
	check(gets(family.a, "from the parent") && write(family.a, "again", 5) == 5);
	char c;
	check(read(family.a, &c, 1) == 0, "no end");
}

int main(void)
{
	int four = listener("127.0.0.1", 0, 9), any = listener("::", 0, 9), bare = socket(AF_INET, SOCK_STREAM, 0), ep = epoll_create1(0), n, i;
	addr where = ip("127.0.0.5", 0);
	char *big = malloc(1 << 20), *back = malloc(1 << 20), c;
	pthread_t thread;

	must(bind(bare, &where.sa, size_of(&where)) == 0 && listen(bare, 9) == 0); /* without SO_REUSEADDR */
	struct pair idle = connected(four, "127.0.0.1"), six = connected(any, "::1"), mixed = connected(any, "127.0.0.1"), full = connected(four, "127.0.0.1");
	struct pair half = connected(four, "127.0.0.1"), deaf = connected(four, "127.0.0.1"), alone = connected(bare, "127.0.0.5"), waits = connected(four, "127.0.0.1");
	struct pair over = connected(four, "127.0.0.1"), left = connected(four, "127.0.0.1"), sized = connected(four, "127.0.0.1");
	family = connected(four, "127.0.0.1");
	struct pair *all[] = {&idle, &six, &mixed, &full, &half, &deaf, &alone, &waits, &sized};

	for (i = 0; i < 1 << 20; i++)
		big[i] = i * 31 >> 3;
	must(write(idle.a, "one", 3) == 3 && write(idle.b, "two!", 4) == 4 && write(six.a, "six", 3) == 3 && write(mixed.b, "mixed", 5) == 5);
	must(write(full.a, big, 60000) == 60000 && write(full.b, big + 5, 50000) == 50000);
	must(write(half.a, "last", 4) == 4 && shutdown(half.a, SHUT_WR) == 0 && write(half.b, "still", 5) == 5);
	must(shutdown(deaf.b, SHUT_RD) == 0);
	must(write(over.a, "bye", 3) == 3 && shutdown(over.a, SHUT_WR) == 0 && shutdown(over.b, SHUT_WR) == 0);
	must(write(left.a, "words", 5) == 5 && close(left.a) == 0);
	must(set(idle.a, IPPROTO_TCP, TCP_NODELAY, 1) == 0 && set(idle.b, SOL_SOCKET, SO_KEEPALIVE, 1) == 0 && set(idle.b, IPPROTO_TCP, TCP_USER_TIMEOUT, 7777) == 0);
	must(set(sized.a, SOL_SOCKET, SO_RCVBUF, 40000) == 0 && set(sized.b, SOL_SOCKET, SO_SNDBUF, 50000) == 0 && setsockopt(sized.a, IPPROTO_TCP, TCP_CONGESTION, "reno", 4) == 0);
	must(fcntl(idle.b, F_SETFL, O_NONBLOCK) == 0 && watch(ep, six.b, EPOLLIN, 1) == 0 && watch(ep, mixed.b, EPOLLIN | EPOLLRDHUP, 2) == 0 && watch(ep, half.b, EPOLLIN | EPOLLRDHUP, 3) == 0);
	blocked = waits.b;
	must(pthread_create(&thread, NULL, reads, NULL) == 0);
	start_kid(child, 0);
	close(family.a);
	for (i = 0; i < 60000; i += n ? 0 : 1) { /* all has arrived */
		ioctl(full.b, FIONREAD, &n);
		int m;
		ioctl(full.a, FIONREAD, &m);
		if (n == 60000 && m == 50000)
			break;
		usleep(1000);
	}
	must(events(left.b, POLLRDHUP, 5000) && events(over.a, POLLRDHUP, 5000));
	usleep(50000);
	int locks = opt(sized.a, SOL_SOCKET, 72), rcvbuf = opt(sized.a, SOL_SOCKET, SO_RCVBUF), sndbuf = opt(sized.b, SOL_SOCKET, SO_SNDBUF), unlocked = opt(idle.a, SOL_SOCKET, 72);
	save_me();

	for (i = 0; i < 9; i++)
		check(as_before(all[i]), "connection %d has other addresses: port %d", i, port_of(&all[i]->at[0]));
	check(gets(idle.b, "one") && gets(idle.a, "two!") && gets(six.b, "six") && gets(mixed.a, "mixed"));
	check(recv(full.b, back, 60000, MSG_WAITALL) == 60000 && memcmp(back, big, 60000) == 0);
	check(recv(full.a, back, 50000, MSG_WAITALL) == 50000 && memcmp(back, big + 5, 50000) == 0);
	check(event(ep, 3, NULL) == (EPOLLIN | EPOLLRDHUP) && event(ep, 1, NULL) == 0 && event(ep, 2, NULL) == 0);
	check(gets(half.b, "last") && read(half.b, &c, 1) == 0 && gets(half.a, "still") && write(half.b, "more", 4) == 4 && gets(half.a, "more"));
	check(send(half.a, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
	check(events(deaf.b, POLLRDHUP, 1000) & POLLRDHUP && read(deaf.b, &c, 1) == 0 && write(deaf.b, "x", 1) == 1 && gets(deaf.a, "x"));
	check(gets(over.b, "bye") && read(over.b, &c, 1) == 0 && read(over.a, &c, 1) == 0);
	check(gets(left.b, "words") && read(left.b, &c, 1) == 0);
	check(opt(idle.a, IPPROTO_TCP, TCP_NODELAY) == 1 && opt(idle.b, SOL_SOCKET, SO_KEEPALIVE) == 1 && opt(idle.b, IPPROTO_TCP, TCP_USER_TIMEOUT) == 7777 && opt(idle.b, IPPROTO_TCP, TCP_NODELAY) == 0);
	check(fcntl(idle.b, F_GETFL) & O_NONBLOCK && !(fcntl(idle.a, F_GETFL) & O_NONBLOCK));
	check(opt(sized.a, SOL_SOCKET, SO_RCVBUF) == rcvbuf && opt(sized.b, SOL_SOCKET, SO_SNDBUF) == sndbuf && opt(sized.a, SOL_SOCKET, 72) == locks && opt(idle.a, SOL_SOCKET, 72) == unlocked);
	check(opt(idle.a, SOL_SOCKET, SO_RCVBUF) < 4 << 20 && opt(idle.a, SOL_SOCKET, SO_SNDBUF) < 8 << 20, "%d %d", opt(idle.a, SOL_SOCKET, SO_RCVBUF), opt(idle.a, SOL_SOCKET, SO_SNDBUF));
	check(opt(alone.b, SOL_SOCKET, SO_REUSEADDR) == 0 && opt(bare, SOL_SOCKET, SO_REUSEADDR) == 0 && opt(idle.b, SOL_SOCKET, SO_REUSEADDR) == 1 && opt(idle.a, SOL_SOCKET, SO_REUSEADDR) == 0);
	fcntl(idle.b, F_SETFL, 0);
	check(talk(&idle) && talk(&six) && talk(&mixed) && talk(&full) && talk(&alone) && talk(&sized));
	check(got == -1, "it went on too early: %d", got);
	check(write(waits.a, "w", 1) == 1 && pthread_join(thread, NULL) == 0 && got == 'w', "%d", got);
	check(write(six.a, "x", 1) == 1 && event(ep, 1, NULL) == EPOLLIN);
	check(shutdown(mixed.a, SHUT_WR) == 0 && event(ep, 2, NULL) == (EPOLLIN | EPOLLRDHUP));
	check(gets(family.b, "from the child") && write(family.b, "from the parent", 15) == 15 && shutdown(family.b, SHUT_WR) == 0);
	finish_kids();
	check(gets(family.b, "again") && read(family.b, &c, 1) == 0);
	/* much more than any buffer holds */
	pid_t pid = fork();
	if (pid == 0) {
		for (i = 0; i < 20; i++)
			if (write(idle.a, big, 1 << 20) != 1 << 20)
				_exit(1);
		_exit(0);
	}
	for (i = 0; i < 20; i++)
		check(recv(idle.b, back, 1 << 20, MSG_WAITALL) == 1 << 20 && memcmp(big, back, 1 << 20) == 0, "%d", i);
	check(waitpid(pid, &n, 0) == pid && n == 0);
	serves(bare, "127.0.0.5", port_of(&alone.at[2]));
	return finish();
}
