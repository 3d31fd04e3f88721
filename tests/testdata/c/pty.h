/* Pseudoterminals. */
#ifndef PTY_H
#define PTY_H
#include "check.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>

struct pty {
	int master, slave;
	char name[64];
};

/* open_pty makes a pair; without open, nobody opens its other side. */
static inline struct pty open_pty(int open_it)
{
	struct pty p = {.master = posix_openpt(O_RDWR | O_NOCTTY), .slave = -1};

	must(p.master >= 0 && grantpt(p.master) == 0 && unlockpt(p.master) == 0 && ptsname_r(p.master, p.name, sizeof p.name) == 0);
	if (open_it)
		must((p.slave = open(p.name, O_RDWR | O_NOCTTY)) >= 0);
	return p;
}

/* comes reads what comes within five seconds, up to len bytes, and reports whether
 * it is the text. */
static inline int comes(int fd, const char *text, char *buf, int len)
{
	int n = 0;

	for (int i = 0; i < 5000 && n < (int)strlen(text); i++) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		if (poll(&p, 1, 1) > 0 && p.revents & POLLIN) {
			int k = read(fd, buf + n, len - 1 - n);
			if (k <= 0)
				break;
			n += k;
		}
	}
	buf[n] = 0;
	return strcmp(buf, text) == 0;
}

static inline int hung_up(int fd)
{
	struct pollfd p = {.fd = fd};

	return poll(&p, 1, 0) == 1 && p.revents & POLLHUP;
}
#endif
