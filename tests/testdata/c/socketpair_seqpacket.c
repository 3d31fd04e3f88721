/* Packets waiting in both directions keep their borders; the stream of them ends
 * when the peer is closed. */
#include "check.h"
#include <sys/socket.h>

int main(void)
{
	static char big[20000], buf[1 << 16];
	int s[2], type = 0;
	socklen_t len = sizeof type;
	struct iovec iov = {buf, 3};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	memset(big, 'b', sizeof big);
	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, s) == 0);
	must(send(s[0], "one", 3, 0) == 3 && send(s[0], "twelve", 6, 0) == 6 && send(s[0], big, sizeof big, 0) == sizeof big);
	must(send(s[1], "back", 4, 0) == 4 && send(s[1], "wards", 5, 0) == 5);
	save_me();
	check(getsockopt(s[0], SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_SEQPACKET && fcntl(s[0], F_GETFD) == FD_CLOEXEC);
	check(recv(s[1], buf, sizeof buf, 0) == 3 && !memcmp(buf, "one", 3));
	check(recvmsg(s[1], &msg, 0) == 3 && msg.msg_flags & MSG_TRUNC && !memcmp(buf, "twe", 3));
	check(recv(s[1], buf, sizeof buf, 0) == sizeof big && !memcmp(buf, big, sizeof big));
	check(recv(s[1], buf, sizeof buf, MSG_DONTWAIT) == -1 && errno == EAGAIN);
	check(send(s[0], "last", 4, 0) == 4);
	check(recv(s[0], buf, sizeof buf, 0) == 4 && !memcmp(buf, "back", 4));
	check(recv(s[0], buf, sizeof buf, 0) == 5 && !memcmp(buf, "wards", 5));
	close(s[0]);
	check(recv(s[1], buf, sizeof buf, 0) == 4 && recv(s[1], buf, sizeof buf, 0) == 0);
	check(send(s[1], "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
	return finish();
}
