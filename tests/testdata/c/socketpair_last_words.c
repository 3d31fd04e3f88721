/* Ends that were shut down for sending when they had said something, and whose words,
 * which name their sender (SO_PASSCRED), wait in the other end: the first or the
 * second of pairs. */
#include "kids.h"
#include <sys/socket.h>

static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
static int s[3][2][2]; /* by type, and by the end that is shut */

/* last checks the last message and who sent it. */
static void last(int fd)
{
	char buf[64], control[CMSG_SPACE(sizeof(struct ucred))];
	struct iovec iov = {buf, sizeof buf};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	struct ucred cred = {0};
	int n = recvmsg(fd, &msg, MSG_DONTWAIT);
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	check(n == 4 && !memcmp(buf, "last", 4), "%d bytes", n);
	if (c && c->cmsg_type == SCM_CREDENTIALS)
		memcpy(&cred, CMSG_DATA(c), sizeof cred);
	check(cred.pid == getpid(), "of pid %d", cred.pid);
}

int main(void)
{
	int on = 1;

	for (int i = 0; i < 3; i++)
		for (int end = 0; end < 2; end++) {
			int *pair = s[i][end];

			must(socketpair(AF_UNIX, types[i], 0, pair) == 0);
			must(setsockopt(pair[!end], SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
			must(send(pair[end], "last", 4, 0) == 4 && shutdown(pair[end], SHUT_WR) == 0);
		}
	save_me();
	for (int i = 0; i < 3; i++)
		for (int end = 0; end < 2; end++) {
			last(s[i][end][!end]);
			check(send(s[i][end][end], "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE, "type %d: end %d can send", types[i], end);
		}
	return finish();
}
