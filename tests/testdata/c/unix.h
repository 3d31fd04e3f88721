/* Addresses of unix sockets. */
#ifndef UNIX_H
#define UNIX_H
#include "check.h"
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

struct name {
	struct sockaddr_un a;
	socklen_t len;
};

/* path_name is a path, sized_name any bytes. */
static inline struct name sized_name(const char *bytes, size_t n)
{
	struct name m = {.a = {.sun_family = AF_UNIX}, .len = offsetof(struct sockaddr_un, sun_path) + n};

	must(n <= sizeof m.a.sun_path);
	memcpy(m.a.sun_path, bytes, n);
	return m;
}

static inline struct name path_name(const char *path) { return sized_name(path, strlen(path) + 1); }

static inline int socket_of(int type)
{
	int fd = socket(AF_UNIX, type, 0);

	must(fd >= 0);
	return fd;
}

static inline int bound(int type, struct name m)
{
	int fd = socket_of(type);

	must(bind(fd, (void *)&m.a, m.len) == 0);
	return fd;
}

static inline int connected(int type, struct name m)
{
	int fd = socket_of(type);

	must(connect(fd, (void *)&m.a, m.len) == 0);
	return fd;
}

static inline struct name own_name(int fd)
{
	struct name m = {.len = sizeof m.a};

	must(getsockname(fd, (void *)&m.a, &m.len) == 0);
	if (m.len > sizeof m.a) /* of 108 bytes, and a zero */
		m.len = sizeof m.a;
	return m;
}

static inline struct name peer_name(int fd)
{
	struct name m = {.len = sizeof m.a};

	if (getpeername(fd, (void *)&m.a, &m.len) != 0)
		m.len = 0;
	if (m.len > sizeof m.a)
		m.len = sizeof m.a;
	return m;
}

static inline int same_name(struct name a, struct name b)
{
	return a.len == b.len && !memcmp(&a.a, &b.a, a.len);
}
#endif
