/* Threads that wait in accept(2) and poll(2), an epoll that watches a listener, and
 * connections that nobody had accepted, which are lost. */
#include "net.h"
#include "epoll.h"
#include "threads.h"

static int blocked, polled;
static volatile int accepted, events_seen;

static void waits(int arg)
{
	__sync_fetch_and_add(&ready, 1);
	int s = accept(blocked, NULL, NULL);
	accepted = s >= 0 ? 1 : -errno;
}

static void polls(int arg)
{
	__sync_fetch_and_add(&ready, 1);
	events_seen = events(polled, POLLIN, -1);
}

int main(void)
{
	int watched = listener("127.0.0.1", 0, 5), full = listener("127.0.0.1", 0, 5), ep, n, c[3];
	addr a;

	blocked = listener("127.0.0.1", 0, 5);
	polled = listener("127.0.0.1", 0, 5);
	must((ep = epoll_create1(0)) >= 0 && watch(ep, watched, EPOLLIN, 1) == 0 && watch(ep, full, EPOLLIN | EPOLLET, 2) == 0);
	a = self(full);
	for (n = 0; n < 3; n++)
		must((c[n] = dial("127.0.0.1", port_of(&a))) >= 0);
	for (n = 0; n < 3; n++)
		close(c[n]);
	must(event(ep, 2, NULL) == EPOLLIN);
	start_thread(waits, 0);
	start_thread(polls, 0);
	usleep(50000);
	save_me();

	check(accepted == 0 && events_seen == 0, "%d %d", accepted, events_seen);
	check(event(ep, 1, &n) == 0 && n == 0, "%d", n);
	a = self(blocked);
	check(dial("127.0.0.1", port_of(&a)) >= 0);
	a = self(polled);
	check(dial("127.0.0.1", port_of(&a)) >= 0);
	finish_threads();
	check(accepted == 1 && events_seen == POLLIN, "%d %#x", accepted, events_seen);
	fcntl(full, F_SETFL, O_NONBLOCK);
	check(accept(full, NULL, NULL) == -1 && errno == EAGAIN, "a connection that was lost");
	a = self(watched);
	check(dial("127.0.0.1", port_of(&a)) >= 0 && event(ep, 1, &n) == EPOLLIN && n == 1, "%d", n);
	a = self(full);
	check(dial("127.0.0.1", port_of(&a)) >= 0 && event(ep, 2, NULL) == EPOLLIN);
	return finish();
}
