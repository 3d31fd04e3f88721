/* Timers of timerfd_create(2), in nanoseconds. */
#ifndef TIMERFD_H
#define TIMERFD_H
#include "check.h"
#include <sys/timerfd.h>
#include <time.h>

#define MS 1000000LL
#define SECOND (1000 * MS)

static inline long long nanos(struct timespec t) { return t.tv_sec * SECOND + t.tv_nsec; }

static inline struct timespec spec(long long ns) { return (struct timespec){ns / SECOND, ns % SECOND}; }

static inline long long at(int clock)
{
	struct timespec t;

	must(clock_gettime(clock, &t) == 0);
	return nanos(t);
}

static inline void set_timer(int fd, int flags, long long value, long long every)
{
	struct itimerspec s = {spec(every), spec(value)};

	must(timerfd_settime(fd, flags, &s, NULL) == 0);
}

static inline int timer(int clock, int flags, long long value, long long every)
{
	int fd = timerfd_create(clock, TFD_NONBLOCK);

	must(fd >= 0);
	set_timer(fd, flags, value, every);
	return fd;
}

/* left returns the time that is left, and the interval in *every unless that is NULL. */
static inline long long left(int fd, long long *every)
{
	struct itimerspec s;

	must(timerfd_gettime(fd, &s) == 0);
	if (every)
		*every = nanos(s.it_interval);
	return nanos(s.it_value);
}

/* ticks reads how often a timer has expired: 0 if it has not, -1 if that fails. */
static inline long long ticks(int fd)
{
	uint64_t n;
	ssize_t got = read(fd, &n, sizeof n);

	return got == sizeof n ? (long long)n : got == -1 && errno == EAGAIN ? 0 : -1;
}

/* late returns by how much later than its clock shows a time a timer will expire, at
 * least; if it is less than 0, it is earlier, by at least that. */
static inline long long late(int fd, int clock, long long when)
{
	long long before = at(clock), l = left(fd, NULL), after = at(clock);

	return after + l < when ? after + l - when : before + l > when ? before + l - when : 0;
}

/* told returns a number of a descriptor's fdinfo, -1 if it is not there. */
static inline long long told(int fd, const char *key, int base)
{
	char name[64], line[256];
	long long n = -1;
	FILE *f;

	snprintf(name, sizeof name, "/proc/self/fdinfo/%d", fd);
	must((f = fopen(name, "r")) != NULL);
	while (fgets(line, sizeof line, f))
		if (strncmp(line, key, strlen(key)) == 0 && line[strlen(key)] == ':')
			n = strtoll(line + strlen(key) + 1, NULL, base);
	fclose(f);
	return n;
}
#endif
