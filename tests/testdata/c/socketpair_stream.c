/* Stream sockets with bytes waiting in both directions, one pair blocking, the
 * other not and full. */
#include "check.h"
#include <sys/socket.h>

static char byte(int i) { return i * 7 + i / 251; }

int main(void)
{
	static char buf[1 << 16];
	int a[2], b[2], n = 0, got = 0, k;

	must(socketpair(AF_UNIX, SOCK_STREAM, 0, a) == 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, b) == 0);
	must(write(a[0], "to one, ", 8) == 8 && write(a[0], "more", 4) == 4 && write(a[1], "to zero", 7) == 7);
	do {
		for (int i = 0; i < 1000; i++)
			buf[i] = byte(n + i);
		k = write(b[0], buf, 1000);
		n += k > 0 ? k : 0;
	} while (k > 0);
	must(errno == EAGAIN && n > 1000);
	save_me();
	check(!(fcntl(a[0], F_GETFL) & O_NONBLOCK) && fcntl(b[0], F_GETFL) & O_NONBLOCK && fcntl(b[1], F_GETFL) & O_NONBLOCK);
	check(fcntl(a[0], F_GETFD) == 0 && fcntl(b[1], F_GETFD) == FD_CLOEXEC);
	check(recv(a[1], buf, sizeof buf, MSG_PEEK) == 12 && read(a[1], buf, 9) == 9 && !memcmp(buf, "to one, m", 9));
	check(read(a[1], buf, sizeof buf) == 3 && !memcmp(buf, "ore", 3));
	check(read(a[0], buf, sizeof buf) == 7 && !memcmp(buf, "to zero", 7));
	check(read(b[0], buf, 1) == -1 && errno == EAGAIN);
	while ((k = read(b[1], buf, sizeof buf)) > 0) {
		for (int i = 0; i < k; i++, got++)
			if (buf[i] != byte(got)) {
				check(0, "byte %d differs", got);
				break;
			}
	}
	check(k == -1 && errno == EAGAIN && got == n, "%d of %d bytes", got, n);
	check(write(a[0], "again", 5) == 5 && read(a[1], buf, sizeof buf) == 5 && write(b[1], "back", 4) == 4 && read(b[0], buf, sizeof buf) == 4);
	close(a[0]);
	check(read(a[1], buf, 1) == 0, "the socket has another peer");
	return finish();
}
