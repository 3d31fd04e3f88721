/* Who sent what waits in sockets (SO_PASSCRED): the parent, a child, a child of
 * another user, in turn; by stream, datagrams, one of them empty, and packets. */
#include "kids.h"
#include <sys/socket.h>

static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
static int s[3][2];

static void say(const char *text)
{
	for (int i = 0; i < 3; i++)
		must(send(s[i][0], text, strlen(text), 0) == (int)strlen(text));
}

static void child(int uid)
{
	must(setresgid(uid, uid, uid) == 0 && setresuid(uid, uid, uid) == 0);
	say(uid ? "stranger" : "child");
	wait_restored();
	check(getuid() == uid);
}

/* from checks the next message and who sent it. */
static void from(int fd, const char *text, pid_t pid, uid_t uid)
{
	char buf[64], control[CMSG_SPACE(sizeof(struct ucred))];
	struct iovec iov = {buf, sizeof buf};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	struct ucred cred = {0};
	int n = recvmsg(fd, &msg, MSG_DONTWAIT);
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	check(n == (int)strlen(text) && !memcmp(buf, text, n), "%d bytes, not %s", n, text);
	if (c && c->cmsg_type == SCM_CREDENTIALS)
		memcpy(&cred, CMSG_DATA(c), sizeof cred);
	check(cred.pid == pid && cred.uid == uid && cred.gid == uid, "%s: pid %d, user %d, group %d", text, cred.pid, cred.uid, cred.gid);
}

int main(void)
{
	int on = 1;

	for (int i = 0; i < 3; i++)
		must(socketpair(AF_UNIX, types[i], 0, s[i]) == 0 && setsockopt(s[i][1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
	say("parent");
	start_kid(child, 0);
	start_kid(child, 1234);
	must(send(s[1][0], "", 0, 0) == 0);
	say("again");
	save_me();
	for (int i = 0; i < 3; i++) {
		from(s[i][1], "parent", getpid(), 0);
		from(s[i][1], "child", kid_pid[0], 0);
		from(s[i][1], "stranger", kid_pid[1], 1234);
		if (types[i] == SOCK_DGRAM)
			from(s[i][1], "", getpid(), 0);
		from(s[i][1], "again", getpid(), 0);
		check(recv(s[i][1], &on, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
	}
	say("new");
	for (int i = 0; i < 3; i++)
		from(s[i][1], "new", getpid(), 0);
	finish_kids();
	return finish();
}
