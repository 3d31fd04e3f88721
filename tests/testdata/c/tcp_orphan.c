/* A connection whose other end was closed with more sent than there was room for: all of it
 * is read, and then the end */
#include "net.h"

#define SENT 3000000

int main(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof a;
	int l = socket(AF_INET, SOCK_STREAM, 0), c = socket(AF_INET, SOCK_STREAM, 0), s, size = 4 << 20;
	static unsigned char buf[SENT];
	long got = 0, bad = 0, n;

	must(bind(l, (void *)&a, len) == 0 && listen(l, 1) == 0 && getsockname(l, (void *)&a, &len) == 0);
	must(setsockopt(c, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) == 0);
	must(connect(c, (void *)&a, len) == 0 && (s = accept(l, NULL, NULL)) >= 0);
	for (long i = 0; i < SENT; i++)
		buf[i] = i % 251;
	must(write(c, buf, SENT) == SENT && close(c) == 0);
	save_me();
	while ((n = read(s, buf, sizeof buf)) > 0) {
		for (long i = 0; i < n; i++)
			bad += buf[i] != (got + i) % 251;
		got += n;
	}
	check(n == 0, "%s", strerror(errno));
	check(got == SENT && bad == 0, "%ld bytes, %ld wrong", got, bad);
	return finish();
}
