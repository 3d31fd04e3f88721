/* Unix sockets that listen, with a path or without: clients connect to them as before, as many as their backlog has room for, and both sides tell who is at the other end (SO_PEERCRED) */
#include "kids.h"
#include "unix.h"

static struct name names[4];
static int listening[4];

static struct ucred cred(int fd)
{
	struct ucred c;
	socklen_t n = sizeof c;

	check(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &n) == 0);
	return c;
}

static int type_of(int i) { return i % 2 ? SOCK_SEQPACKET : SOCK_STREAM; }

/* child listens as another user. */
static void child(int i)
{
	must(setegid(7) == 0 && seteuid(65534) == 0);
	must(listen(listening[i], 3) == 0);
	must(seteuid(0) == 0 && setegid(0) == 0);
	wait_restored();
	check(1);
}

int main(void)
{
	char abstract[64], buf[9];
	pid_t kid;

	umask(0);
	names[0] = path_name("stream");
	names[1] = path_name("packets");
	for (int i = 2; i < 4; i++)
		names[i] = sized_name(abstract, snprintf(abstract, sizeof abstract, "%cckpt-listen-%d-%d", 0, getpid(), i));
	for (int i = 0; i < 4; i++) {
		listening[i] = bound(type_of(i), names[i]);
		must(i % 2 || listen(listening[i], i) == 0);
	}
	kid = start_kid(child, 1);
	start_kid(child, 3);
	must(listen(listening[3], 5) == 0);
	save_me();
	for (int i = 0; i < 4; i++) {
		int value = 0, room[] = {1, 4, 3, 6}, got = 0, fds[9];
		socklen_t n = sizeof value;
		check(getsockopt(listening[i], SOL_SOCKET, SO_ACCEPTCONN, &value, &n) == 0 && value == 1);
		for (; got < 9; got++) {
			fds[got] = socket_of(type_of(i) | SOCK_NONBLOCK);
			if (connect(fds[got], (void *)&names[i].a, names[i].len) != 0)
				break;
		}
		check(got == room[i] && errno == EAGAIN, "socket %d has room for %d: %s", i, got, strerror(errno));
		struct ucred c = cred(fds[0]), l = cred(listening[i]);
		check(c.pid == (i == 1 ? kid : getpid()) && c.uid == (i == 1 ? 65534 : 0) && c.gid == (i == 1 ? 7 : 0), "socket %d: pid %d, user %d", i, c.pid, c.uid);
		check(l.pid == c.pid && l.uid == c.uid);
		int fd = accept(listening[i], NULL, NULL);
		check(fd >= 0 && same_name(own_name(fd), names[i]) && same_name(peer_name(fds[0]), names[i]));
		check(cred(fd).pid == getpid());
		check(write(fd, "hello", 5) == 5 && read(fds[0], buf, 9) == 5);
	}
	finish_kids();
	return finish();
}
