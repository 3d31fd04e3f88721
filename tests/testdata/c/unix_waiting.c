/* Connections that wait to be accepted, of clients in the tree: one in a child, one that was shut down for writing, of stream and packet sockets; they are accepted in their order, and get answers */
#include "kids.h"
#include "unix.h"

static struct name names[4];
static int listener[4];

static int type_of(int i) { return i % 2 ? SOCK_SEQPACKET : SOCK_STREAM; }

static void child(int i)
{
	char b[9];

	must(setegid(9) == 0 && seteuid(65534) == 0);
	int fd = connected(type_of(i), names[i]);
	must(seteuid(0) == 0 && setegid(0) == 0);
	wait_restored();
	check(same_name(peer_name(fd), names[i]));
	check(write(fd, "kid", 3) == 3 && recv(fd, b, 6, MSG_WAITALL) == 6 && !memcmp(b, "answer", 6));
}

int main(void)
{
	char b[64];
	int first[4], last[4], kids_end[4];
	pid_t kid[4];

	names[0] = path_name("stream");
	names[1] = path_name("packets");
	for (int i = 2; i < 4; i++)
		names[i] = sized_name(b, snprintf(b, sizeof b, "%cckpt-wait-%d-%d", 0, getpid(), i));
	for (int i = 0; i < 4; i++) {
		listener[i] = bound(type_of(i), names[i]);
		must(chmod(names[i].a.sun_path, 0777) == 0 || i > 1);
		must(listen(listener[i], 2) == 0);
		first[i] = connected(type_of(i), names[i]);
		kid[i] = start_kid(child, i);
		last[i] = connected(type_of(i), names[i]);
		must(shutdown(last[i], SHUT_WR) == 0);
	}
	save_me();
	for (int i = 0; i < 4; i++) {
		struct ucred c;
		socklen_t n = sizeof c;
		check(connect(socket_of(type_of(i) | SOCK_NONBLOCK), (void *)&names[i].a, names[i].len) == -1 && errno == EAGAIN, "there is room for one more");
		check(write(first[i], "first", 5) == 5);
		int fd = accept(listener[i], NULL, NULL);
		check(recv(fd, b, 5, MSG_WAITALL) == 5 && !memcmp(b, "first", 5));
		check(write(fd, "answer", 6) == 6 && recv(first[i], b, 6, MSG_WAITALL) == 6);
		fd = kids_end[i] = accept(listener[i], NULL, NULL);
		check(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &n) == 0 && c.pid == kid[i], "pid %d, was %d", c.pid, kid[i]);
		check(write(fd, "answer", 6) == 6);
		fd = accept(listener[i], NULL, NULL);
		check(read(fd, b, 9) == 0 && write(fd, "x", 1) == 1 && read(last[i], b, 1) == 1);
		check(same_name(own_name(fd), names[i]) && same_name(peer_name(last[i]), names[i]));
	}
	finish_kids();
	for (int i = 0; i < 4; i++)
		check(recv(kids_end[i], b, 3, MSG_WAITALL) == 3 && !memcmp(b, "kid", 3));
	return finish();
}
