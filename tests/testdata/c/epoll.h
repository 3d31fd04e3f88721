/* What an epoll has to tell. */
#ifndef EPOLL_H
#define EPOLL_H
#include "check.h"
#include <sys/epoll.h>

static inline int watch(int ep, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event e = {.events = events, .data.u64 = data};

	return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
}

/* event returns what is reported with that data, or 0; the number of all reports
 * is in *n unless n is NULL. */
static inline uint32_t event(int ep, uint64_t data, int *n)
{
	struct epoll_event e[64];
	uint32_t found = 0;
	int k = epoll_wait(ep, e, 64, 50);

	for (int i = 0; i < k; i++)
		if (e[i].data.u64 == data)
			found = e[i].events;
	if (n)
		*n = k;
	return found;
}
#endif
