/* eventfds and epolls: counts, flags, what is watched under which number, and
 * targets whose number is closed or has something else open by now. */
#include "check.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>

static int watch(int ep, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event e = {.events = events, .data.u64 = data};
	return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
}

/* event returns the data of the one event that is there, 0 without. */
static uint64_t event(int ep)
{
	struct epoll_event e[8];
	int n = epoll_wait(ep, e, 8, 0);
	return n == 1 ? e[0].data.u64 : n == 0 ? 0 : 1000 + n;
}

int main(void)
{
	struct epoll_event e = {.events = EPOLLIN};
	uint64_t v;
	int p[2], q[2], r[2], plain, sem, zero, big, twin, ep, outer, moved, spent, spentpipe, late;

	must((plain = eventfd(7, EFD_NONBLOCK)) >= 0);
	must((sem = eventfd(3, EFD_SEMAPHORE | EFD_CLOEXEC)) >= 0);
	must((zero = eventfd(0, EFD_NONBLOCK)) >= 0);
	must((big = eventfd(0, EFD_NONBLOCK)) >= 0);
	v = UINT64_MAX - 1;
	must(write(big, &v, 8) == 8);
	must((twin = dup(plain)) >= 0);

	must((ep = epoll_create1(EPOLL_CLOEXEC)) >= 0 && (outer = epoll_create(1)) >= 0);
	must(pipe(p) == 0 && pipe(q) == 0 && pipe(r) == 0);
	must(watch(ep, p[0], EPOLLIN, 0xdeadbeefcafe0001) == 0);
	must(watch(ep, zero, EPOLLIN | EPOLLET, UINT64_MAX) == 0);
	must(watch(outer, ep, EPOLLIN, 55) == 0);
	/* added as 100, to be found as moved; 100 is another file now */
	must(dup2(p[0], 100) == 100 && watch(ep, 100, EPOLLIN, 100) == 0 && (moved = dup(100)) >= 0);
	must(dup2(plain, 100) == 100 && watch(ep, 100, EPOLLIN, 101) == 0);
	must(close(100) == 0); /* two targets under one number, and nothing there */
	must(dup2(r[0], 200) == 200 && watch(ep, 200, EPOLLIN | EPOLLEXCLUSIVE, 200) == 0 && close(200) == 0);
	/* has fired, and waits to be armed again */
	must((spent = eventfd(1, 0)) >= 0 && watch(ep, spent, EPOLLIN | EPOLLONESHOT, 300) == 0);
	must((spentpipe = dup(q[0])) >= 0 && watch(ep, spentpipe, EPOLLIN | EPOLLONESHOT, 400) == 0);
	must(write(q[1], "x", 1) == 1);
	struct epoll_event all[16];
	must(epoll_wait(ep, all, 16, 0) >= 3); /* plain, spent, spentpipe */
	must(read(q[0], &v, 1) == 1);
	must((late = eventfd(0, 0)) >= 0);
	save_me();

	check(fcntl(plain, F_GETFL) & O_NONBLOCK);
	check(!(fcntl(sem, F_GETFL) & O_NONBLOCK) && fcntl(sem, F_GETFD) == FD_CLOEXEC);
	check(read(sem, &v, 8) == 8 && v == 1 && read(sem, &v, 8) == 8 && v == 1);
	check(read(big, &v, 8) == 8 && v == UINT64_MAX - 1);
	check(read(big, &v, 8) == -1 && errno == EAGAIN);

	check(fcntl(ep, F_GETFD) == FD_CLOEXEC && fcntl(outer, F_GETFD) == 0);
	check(event(outer) == 55, "%ju", (uintmax_t)event(outer));
	check(event(ep) == 101, "%ju", (uintmax_t)event(ep));
	check(read(twin, &v, 8) == 8 && v == 7 && read(plain, &v, 8) == -1 && errno == EAGAIN, "dups are one eventfd");
	check(event(ep) == 0 && event(outer) == 0);
	v = 1;
	check(write(zero, &v, 8) == 8 && event(ep) == UINT64_MAX && event(ep) == 0, "edge");
	check(read(zero, &v, 8) == 8);
	check(write(p[1], "y", 1) == 1);
	int n = epoll_wait(ep, all, 16, 0);
	check(n == 2, "%d", n);
	check(n == 2 && all[0].data.u64 + all[1].data.u64 == 0xdeadbeefcafe0001 + 100);
	/* the numbers hold: 100 may be deleted through what has it open now */
	check(epoll_ctl(ep, EPOLL_CTL_DEL, 100, NULL) == -1 && errno == EBADF);
	check(dup2(moved, 100) == 100 && epoll_ctl(ep, EPOLL_CTL_DEL, 100, NULL) == 0);
	check(dup2(plain, 100) == 100 && epoll_ctl(ep, EPOLL_CTL_DEL, 100, NULL) == 0);
	check(epoll_ctl(ep, EPOLL_CTL_DEL, 100, NULL) == -1 && errno == ENOENT);
	check(epoll_ctl(ep, EPOLL_CTL_DEL, moved, NULL) == -1 && errno == ENOENT);
	check(read(p[0], &v, 1) == 1 && event(ep) == 0);
	e.data.u64 = 301;
	check(epoll_ctl(ep, EPOLL_CTL_MOD, spent, &e) == 0 && event(ep) == 301);
	check(read(spent, &v, 8) == 8 && v == 1);
	check(write(q[1], "x", 1) == 1 && event(ep) == 0, "spent, whatever comes");
	e.data.u64 = 401;
	check(epoll_ctl(ep, EPOLL_CTL_MOD, spentpipe, &e) == 0 && event(ep) == 401);
	check(watch(ep, late, EPOLLIN, 1) == 0);
	return finish();
}
