/* Pairs of sockets with one end in the parent and one in a child, between two
 * children, and one end in two processes. */
#include "kids.h"
#include <sys/socket.h>

static int up[2][2], across[2];

static void child(int i)
{
	char buf[64];

	for (int k = 0; k < 2; k++)
		close(up[k][0]);
	close(across[!i]);
	if (i == 0)
		close(up[1][1]);
	must(write(up[i][1], "early ", 6) == 6 && write(across[i], i ? "1" : "0", 1) == 1);
	wait_restored();
	check(recv(up[i][1], buf, 5, MSG_WAITALL) == 5 && !memcmp(buf, "hello", 5));
	check(write(up[i][1], "late", 4) == 4);
	check(write(across[i], "x", 1) == 1);
	check(recv(across[i], buf, 2, MSG_WAITALL) == 2 && !memcmp(buf, i ? "0x" : "1x", 2));
	check(shutdown(across[i], SHUT_WR) == 0 && read(across[i], buf, 1) == 0);
}

int main(void)
{
	char buf[64];

	for (int i = 0; i < 2; i++)
		must(socketpair(AF_UNIX, SOCK_STREAM, 0, up[i]) == 0);
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, across) == 0);
	start_kid(child, 0);
	start_kid(child, 1);
	close(across[0]);
	close(across[1]);
	close(up[0][1]); /* child 1 also has this one, and we the end of child 1 */
	must(write(up[0][0], "hel", 3) == 3);
	save_me();
	check(write(up[0][0], "lo", 2) == 2 && write(up[1][0], "hello", 5) == 5);
	for (int i = 0; i < 2; i++)
		check(recv(up[i][0], buf, 6, MSG_WAITALL) == 6 && !memcmp(buf, "early ", 6));
	finish_kids();
	for (int i = 0; i < 2; i++)
		check(recv(up[i][0], buf, 4, MSG_WAITALL) == 4 && !memcmp(buf, "late", 4));
	check(read(up[0][0], buf, 1) == 0, "somebody has the end of the children that ended");
	check(recv(up[1][0], buf, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
	close(up[1][1]);
	check(read(up[1][0], buf, 1) == 0);
	return finish();
}
