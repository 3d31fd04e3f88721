/* Connections to a program outside: what was not read is read yet, and then they are
 * reset, or end if the other side had ended them. */
#include "net.h"
#include "epoll.h"

#define BULK 100000

static void talks(int s, int arg)
{
	char *bulk = calloc(1, BULK);

	for (int i = 0; i < BULK; i++)
		bulk[i] = i * 7;
	if (arg == 1 && write(s, "unread", 6) == 6)
		stays(s);
	if (arg == 2 && write(s, "last words", 10) == 10 && shutdown(s, SHUT_WR) == 0)
		for (char c; read(s, &c, 1) > 0;)
			;
	while (arg == 3 && access("go", F_OK) && !access("out", F_OK))
		usleep(10000);
	if (arg == 4 && write(s, bulk, BULK) == BULK)
		stays(s);
	if (arg == 5) { /* a reset, with a byte unread */
		while (recv(s, bulk, 1, MSG_PEEK) < 1)
			;
		usleep(100000);
	}
	if (arg == 6 && shutdown(s, SHUT_WR) == 0) {
		while (read(s, bulk, 1) > 0)
			;
		stays(s);
	}
	usleep(200000);
}

static int from_outside(int listening, int arg)
{
	int s;

	outside(talks, listening, arg);
	must((s = accept(listening, NULL, NULL)) >= 0);
	return s;
}

/* all reads until the end and returns what comes then. */
static int all(int s, char *buf, int size, int *n)
{
	int k;

	for (*n = 0; (k = recv(s, buf + *n, size - *n, MSG_DONTWAIT)) > 0;)
		*n += k;
	return k == 0 ? 0 : errno;
}

int main(void)
{
	int six = listener("::", 0, 9), on = listener("127.0.0.1", 0, 9), ep = epoll_create1(0), n, why;
	int unread = from_outside(on, 1), ended = from_outside(on, 2), half = from_outside(on, 3), bulk = from_outside(on, 4), broken = from_outside(on, 5);
	int told = from_outside(on, 5), both = from_outside(on, 6), mapped, in6;
	char *buf = malloc(2 * BULK), *want = malloc(BULK);

	for (int i = 0; i < BULK; i++)
		want[i] = i * 7;
	in6 = from_outside(six, 1);
	addr a = self(six);
	must(dial("127.0.0.1", port_of(&a)) >= 0 && (mapped = accept(six, NULL, NULL)) >= 0); /* this one is inside; closed below */
	close(mapped);
	must(events(unread, POLLIN, 2000) && events(in6, POLLIN, 2000) && events(ended, POLLRDHUP, 2000));
	must(shutdown(half, SHUT_WR) == 0);
	must(events(both, POLLRDHUP, 2000) && shutdown(both, SHUT_WR) == 0);
	must(write(broken, "x", 1) == 1 && write(told, "x", 1) == 1 && events(broken, POLLERR, 5000) && events(told, POLLERR, 5000));
	must(opt(told, SOL_SOCKET, SO_ERROR) == ECONNRESET);
	while (ioctl(bulk, FIONREAD, &n) == 0 && n < BULK)
		usleep(1000);
	must(set(unread, IPPROTO_TCP, TCP_NODELAY, 1) == 0 && set(unread, IPPROTO_TCP, TCP_KEEPIDLE, 99) == 0 && fcntl(unread, F_SETFL, O_NONBLOCK) == 0);
	must(watch(ep, half, EPOLLIN | EPOLLRDHUP, 3) == 0 && watch(ep, bulk, EPOLLIN, 4) == 0);
	save_me();

	check(opt(unread, IPPROTO_TCP, TCP_NODELAY) == 1 && opt(unread, IPPROTO_TCP, TCP_KEEPIDLE) == 99 && fcntl(unread, F_GETFL) & O_NONBLOCK);
	why = all(unread, buf, BULK, &n);
	check(n == 6 && memcmp(buf, "unread", 6) == 0 && why == ECONNRESET, "%d bytes, then %s", n, strerror(why));
	check(peer_port(unread) == -1 && errno == ENOTCONN && send(unread, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE, "%s", strerror(errno));
	why = all(in6, buf, BULK, &n);
	check(n == 6 && why == ECONNRESET, "%d bytes, then %s", n, strerror(why));
	why = all(ended, buf, BULK, &n);
	check(n == 10 && memcmp(buf, "last words", 10) == 0 && why == 0, "%d bytes, then %s", n, strerror(why));
	check(send(ended, "x", 1, MSG_NOSIGNAL) == 1 && events(ended, 0, 2000) & POLLHUP && send(ended, "x", 1, MSG_NOSIGNAL) == -1, "nobody is there, and it does not notice");
	check(event(ep, 3, NULL) & EPOLLERR && event(ep, 4, NULL) & EPOLLIN);
	check(all(half, buf, BULK, &n) == ECONNRESET && n == 0);
	why = all(bulk, buf, 2 * BULK, &n);
	check(n == BULK && memcmp(buf, want, BULK) == 0 && why == ECONNRESET, "%d bytes, then %s", n, strerror(why));
	check(opt(broken, SOL_SOCKET, SO_ERROR) == ECONNRESET && all(broken, buf, 9, &n) == 0 && n == 0);
	check(opt(told, SOL_SOCKET, SO_ERROR) == 0 && all(told, buf, 9, &n) == 0 && n == 0);
	check(all(both, buf, 9, &n) == 0 && n == 0 && send(both, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
	serves(on, "127.0.0.1", ({ addr b = self(on); port_of(&b); }));
	return finish();
}
