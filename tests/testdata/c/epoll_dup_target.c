/* A target of an epoll whose descriptor number then became another file's, while
 * a duplicate keeps the target open; and one that is open in no other way than
 * by a duplicate, its number being free. */
#include "epoll.h"
#include <sys/eventfd.h>

int main(void)
{
	int ep = epoll_create1(0), reused[2], freed[2], n;
	char c;

	must(ep >= 0 && pipe(reused) == 0 && pipe(freed) == 0);
	must(watch(ep, reused[0], EPOLLIN, 0x1111) == 0 && watch(ep, freed[0], EPOLLIN, 0x2222) == 0);
	int elsewhere = fcntl(reused[0], F_DUPFD, 100), other = fcntl(freed[0], F_DUPFD, 200), event_fd = eventfd(0, 0);
	must(elsewhere == 100 && other == 200 && event_fd >= 0);
	must(dup2(event_fd, reused[0]) == reused[0] && close(event_fd) == 0 && close(freed[0]) == 0);
	save_me();
	check(event(ep, 0, &n) == 0 && n == 0, "%d events", n);
	check(eventfd_write(reused[0], 1) == 0 && event(ep, 0x1111, &n) == 0 && n == 0, "the new file of that number is watched");
	check(write(reused[1], "r", 1) == 1 && event(ep, 0x1111, &n) == EPOLLIN && n == 1, "%d events", n);
	check(write(freed[1], "f", 1) == 1 && event(ep, 0x2222, &n) == EPOLLIN && n == 2, "%d events", n);
	check(epoll_ctl(ep, EPOLL_CTL_DEL, reused[0], NULL) == -1 && errno == ENOENT);
	check(epoll_ctl(ep, EPOLL_CTL_DEL, elsewhere, NULL) == -1 && errno == ENOENT);
	check(watch(ep, reused[0], EPOLLIN, 0x3333) == 0 && event(ep, 0x3333, &n) == EPOLLIN && n == 3, "%d events", n);
	check(read(elsewhere, &c, 1) == 1 && c == 'r' && read(other, &c, 1) == 1 && c == 'f');
	check(event(ep, 0x3333, &n) == EPOLLIN && n == 1, "%d events", n);
	/* Under its old number the target can be got at again. */
	check(dup2(other, freed[0]) == freed[0] && epoll_ctl(ep, EPOLL_CTL_DEL, freed[0], NULL) == 0);
	close(elsewhere);
	check(event(ep, 0x3333, &n) == EPOLLIN && n == 1, "%d events", n);
	return finish();
}
