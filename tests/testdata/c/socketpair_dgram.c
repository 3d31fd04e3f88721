/* Datagrams waiting in both directions keep their borders, an empty one too. */
#include "check.h"
#include <sys/socket.h>

int main(void)
{
	static char big[20000], buf[1 << 16];
	const char *messages[] = {"one", "", "three", "4"};
	int s[2], full[2], n = 0, got = 0;

	memset(big, 'b', sizeof big);
	must(socketpair(AF_UNIX, SOCK_DGRAM, 0, s) == 0 && socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, full) == 0);
	for (int i = 0; i < 4; i++)
		must(send(s[0], messages[i], strlen(messages[i]), 0) == (int)strlen(messages[i]));
	must(send(s[0], big, sizeof big, 0) == sizeof big);
	must(send(s[1], "back", 4, 0) == 4 && send(s[1], "wards", 5, 0) == 5);
	while (send(full[0], big, n % 100 + 1, 0) == n % 100 + 1)
		n++;
	must(n > 3 && errno == EAGAIN);
	save_me();
	for (int i = 0; i < 4; i++)
		check(recv(s[1], buf, sizeof buf, 0) == (int)strlen(messages[i]) && !memcmp(buf, messages[i], strlen(messages[i])), "message %d", i);
	check(recv(s[1], buf, sizeof buf, 0) == sizeof big && !memcmp(buf, big, sizeof big));
	check(recv(s[0], buf, 2, MSG_TRUNC) == 4 && !memcmp(buf, "ba", 2), "a short read drops the rest");
	check(recv(s[0], buf, sizeof buf, 0) == 5 && !memcmp(buf, "wards", 5));
	check(recv(s[0], buf, sizeof buf, MSG_DONTWAIT) == -1 && errno == EAGAIN && recv(s[1], buf, sizeof buf, MSG_DONTWAIT) == -1 && errno == EAGAIN);
	while (recv(full[1], buf, sizeof buf, 0) == got % 100 + 1)
		got++;
	check(errno == EAGAIN && got == n, "%d of %d datagrams", got, n);
	check(send(s[0], "new", 3, 0) == 3 && recv(s[1], buf, sizeof buf, 0) == 3);
	return finish();
}
