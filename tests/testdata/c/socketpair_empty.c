/* Datagrams that are empty and have been looked at before, which the kernel does
 * not show again. */
#include "check.h"
#include <sys/socket.h>

int main(void)
{
	char c;
	int s[2];

	must(socketpair(AF_UNIX, SOCK_DGRAM, 0, s) == 0);
	for (int i = 0; i < 3; i++)
		must(send(s[0], "", 0, 0) == 0);
	must(recv(s[1], &c, 1, MSG_PEEK) == 0);
	save_me();
	for (int i = 0; i < 3; i++)
		check(recv(s[1], &c, 1, MSG_DONTWAIT) == 0, "message %d", i);
	check(recv(s[1], &c, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
	return finish();
}
