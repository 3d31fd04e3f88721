/* What an inotify has to tell. */
#ifndef INOTIFY_H
#define INOTIFY_H
#include "check.h"
#include <limits.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

struct event { int wd; uint32_t mask, cookie; char name[NAME_MAX + 1]; };

/* next takes the next event, of which there is 0 or 1. */
static inline int next(int fd, struct event *e)
{
	static char buf[64][4096] __attribute__((aligned(8)));
	static int len[64], pos[64];

	memset(e, 0, sizeof *e);
	if (pos[fd % 64] >= len[fd % 64]) {
		pos[fd % 64] = 0;
		if ((len[fd % 64] = read(fd, buf[fd % 64], sizeof buf[0])) <= 0) {
			len[fd % 64] = 0;
			return 0;
		}
	}
	struct inotify_event *i = (void *)(buf[fd % 64] + pos[fd % 64]);
	pos[fd % 64] += sizeof *i + i->len;
	e->wd = i->wd, e->mask = i->mask, e->cookie = i->cookie;
	if (i->len)
		strcpy(e->name, i->name);
	return 1;
}

/* tells checks the next event; wd -1 is IN_Q_OVERFLOW's. */
#define tells(fd, w, m, n) do { \
	struct event tells_e; \
	int tells_n = next(fd, &tells_e); \
	check(tells_n == 1 && tells_e.wd == (w) && tells_e.mask == (m) && strcmp(tells_e.name, n) == 0, \
		"%d: wd %d mask %#x name %s, not wd %d mask %#x name %s", tells_n, tells_e.wd, tells_e.mask, tells_e.name, w, (unsigned)(m), n); \
} while (0)

#define quiet(fd) do { \
	struct event quiet_e; \
	int quiet_n = next(fd, &quiet_e); \
	check(quiet_n == 0, "wd %d mask %#x name %s", quiet_e.wd, quiet_e.mask, quiet_e.name); \
} while (0)

static inline int waiting(int fd)
{
	int n;

	must(ioctl(fd, FIONREAD, &n) == 0);
	return n;
}

static inline int add(int fd, const char *path, uint32_t mask)
{
	int wd = inotify_add_watch(fd, path, mask);

	must(wd > 0);
	return wd;
}

/* mask_of returns the mask of a watch by what /proc tells, -1 if there is none. */
static inline long long mask_of(int fd, int wd)
{
	char name[64], line[512];
	unsigned w, mask;
	long long found = -1;
	FILE *f;

	snprintf(name, sizeof name, "/proc/self/fdinfo/%d", fd);
	must((f = fopen(name, "r")) != NULL);
	while (fgets(line, sizeof line, f))
		if (sscanf(line, "inotify wd:%x ino:%*x sdev:%*x mask:%x", &w, &mask) == 2 && (int)w == wd)
			found = mask;
	fclose(f);
	return found;
}

static inline void touch(const char *path)
{
	int fd = open(path, O_CREAT | O_WRONLY, 0600);

	must(fd >= 0 && close(fd) == 0);
}

static inline void append(const char *path)
{
	int fd = open(path, O_WRONLY | O_APPEND);

	must(fd >= 0 && write(fd, "x", 1) == 1 && close(fd) == 0);
}
#endif
