/* An epoll with ten targets of several kinds: level and edge triggered, one-shot,
 * one-shot that has been used, with 64 bits of data. */
#include "epoll.h"
#include <sys/eventfd.h>
#include <sys/socket.h>

enum { LEVEL, EDGE, ONESHOT, USED, BOTH, RDHUP, WRITER, HUP, EXCLUSIVE, CHANGED, N };

static int ep;
static uint64_t data(int i) { return 0xfeed000000000000ull + ((uint64_t)i << 33) + i; }
static uint32_t reported(int i) { return event(ep, data(i), NULL); }

int main(void)
{
	int level[2], edge[2], both[2], rdhup[2], writer[2], hup[2], n, k = 0;
	int oneshot = eventfd(0, 0), used = eventfd(1, 0), exclusive = eventfd(0, 0), changed = eventfd(0, 0);
	static char buf[1 << 16];

	must(pipe(level) == 0 && pipe(edge) == 0 && pipe(writer) == 0 && pipe(hup) == 0);
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, both) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, rdhup) == 0);
	must((ep = epoll_create1(EPOLL_CLOEXEC)) >= 0);
	int fds[N] = {level[0], edge[0], oneshot, used, both[0], rdhup[0], writer[1], hup[0], exclusive, changed};
	uint32_t events[N] = {EPOLLIN, EPOLLIN | EPOLLET, EPOLLIN | EPOLLONESHOT, EPOLLIN | EPOLLONESHOT, EPOLLIN | EPOLLOUT,
		EPOLLRDHUP, EPOLLOUT, EPOLLIN, EPOLLIN | EPOLLEXCLUSIVE, EPOLLIN};
	for (int i = 0; i < N; i++)
		must(fds[i] >= 0 && watch(ep, fds[i], events[i], data(i)) == 0);
	must(epoll_ctl(ep, EPOLL_CTL_MOD, changed, &(struct epoll_event){.events = EPOLLIN | EPOLLOUT | EPOLLET | EPOLLONESHOT, .data.u64 = data(CHANGED) + 1}) == 0);
	must(write(level[1], "x", 1) == 1);
	must(fcntl(writer[1], F_SETFL, O_NONBLOCK) == 0);
	while (write(writer[1], buf, 4096) == 4096)
		;
	must(reported(USED) == EPOLLIN); /* this also reports CHANGED, for the only time */
	save_me();

	check(fcntl(ep, F_GETFD) == FD_CLOEXEC);
	for (int i = 0; i < N; i++)
		check(watch(ep, fds[i], EPOLLIN, 0) == -1 && errno == EEXIST, "target %d is not there", i);

	check(event(ep, data(LEVEL), &n) == EPOLLIN && n == 2, "%d events", n);
	check(reported(LEVEL) == EPOLLIN);
	check(reported(BOTH) == EPOLLOUT);
	check(read(level[0], buf, 8) == 1 && reported(LEVEL) == 0);

	check(write(edge[1], "x", 1) == 1);
	check(reported(EDGE) == EPOLLIN && reported(EDGE) == 0, "edge triggered");
	check(write(edge[1], "y", 1) == 1 && reported(EDGE) == EPOLLIN && reported(EDGE) == 0);

	check(eventfd_write(oneshot, 1) == 0);
	check(reported(ONESHOT) == EPOLLIN && reported(ONESHOT) == 0, "one-shot");
	check(eventfd_write(used, 1) == 0 && reported(USED) == 0, "a used one-shot reports again");
	check(epoll_ctl(ep, EPOLL_CTL_MOD, used, &(struct epoll_event){.events = EPOLLIN, .data.u64 = data(USED)}) == 0 && reported(USED) == EPOLLIN);

	check(write(both[1], "x", 1) == 1 && reported(BOTH) == (EPOLLIN | EPOLLOUT));
	check(shutdown(rdhup[1], SHUT_WR) == 0 && reported(RDHUP) == EPOLLRDHUP, "%#x", reported(RDHUP));

	check(reported(WRITER) == 0, "the full pipe has room");
	while (k < 1 << 16 && (n = read(writer[0], buf, sizeof buf)) > 0)
		k += n;
	check(reported(WRITER) == EPOLLOUT);

	check(reported(HUP) == 0 && close(hup[1]) == 0 && reported(HUP) == EPOLLHUP);
	check(eventfd_write(exclusive, 1) == 0 && reported(EXCLUSIVE) == EPOLLIN);

	check(eventfd_write(changed, 1) == 0 && event(ep, data(CHANGED) + 1, NULL) == 0 && reported(CHANGED) == 0);
	check(epoll_ctl(ep, EPOLL_CTL_MOD, changed, &(struct epoll_event){.events = EPOLLIN, .data.u64 = data(CHANGED)}) == 0 && reported(CHANGED) == EPOLLIN);

	for (int i = 0; i < N; i++)
		check(epoll_ctl(ep, EPOLL_CTL_DEL, fds[i], NULL) == 0, "target %d is not there", i);
	check(event(ep, 0, &n) == 0 && n == 0);
	return finish();
}
