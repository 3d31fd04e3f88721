/* An epoll in an epoll in an epoll. */
#include "epoll.h"

int main(void)
{
	int inner = epoll_create1(0), middle = epoll_create1(0), outer = epoll_create1(0), p[2], q[2], n;
	char c;

	must(pipe(p) == 0 && pipe(q) == 0);
	must(watch(inner, p[0], EPOLLIN, 1) == 0 && watch(middle, inner, EPOLLIN, 2) == 0 && watch(outer, middle, EPOLLIN, 3) == 0);
	must(watch(outer, q[0], EPOLLIN, 4) == 0);
	save_me();
	check(event(outer, 3, &n) == 0 && n == 0, "%d events", n);
	check(write(p[1], "p", 1) == 1);
	check(event(outer, 3, &n) == EPOLLIN && n == 1, "%d events", n);
	check(event(middle, 2, &n) == EPOLLIN && n == 1, "%d events", n);
	check(event(inner, 1, &n) == EPOLLIN && n == 1, "%d events", n);
	check(write(q[1], "q", 1) == 1 && event(outer, 4, &n) == EPOLLIN && n == 2, "%d events", n);
	check(read(p[0], &c, 1) == 1 && c == 'p');
	check(event(outer, 3, &n) == 0 && n == 1, "%d events", n);
	check(watch(inner, outer, EPOLLIN, 5) == -1 && errno == ELOOP);
	return finish();
}
