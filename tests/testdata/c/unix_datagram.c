/* Datagram sockets with addresses: many clients of one server, connected one way; two that are connected to each other; messages that wait, with the address that each was sent from: of sockets of the tree, of some that are closed, and none; a peer that is closed; an end of a pair that was connected to another one; one that is connected to itself */
#include "kids.h"
#include "unix.h"

#define CLIENTS 5

static struct name server_name, names[CLIENTS], gone_name;

static void expect(int fd, const char *what, struct name from)
{
	struct name m = {.len = sizeof m.a};
	char b[64];
	int n = recvfrom(fd, b, sizeof b, MSG_DONTWAIT, (void *)&m.a, &m.len);

	check(n == (int)strlen(what) && !memcmp(b, what, n), "%d bytes (%.*s), want %s: %s", n, n < 0 ? 0 : n, b, what, strerror(errno));
	if (from.len <= 2) /* none: the kernel writes no address at all */
		check(m.len == 0, "%s is from %.100s", what, m.a.sun_path);
	else
		check(same_name(m, from), "%s is from %.100s, want %.100s", what, m.a.sun_path, from.a.sun_path);
}

static void say(int fd, const char *what) { must(send(fd, what, strlen(what), 0) == (int)strlen(what)); }

int main(void)
{
	char b[64];
	int client[CLIENTS], one = 1, pair[2], auto_pair[2];

	server_name = path_name("server");
	int server = bound(SOCK_DGRAM, server_name);
	for (int i = 0; i < CLIENTS; i++) {
		client[i] = socket_of(SOCK_DGRAM);
		snprintf(b, sizeof b, "client%d", i);
		if (i == 1 || i == 3)
			names[i] = path_name(b);
		if (i == 2)
			names[i] = sized_name(b, snprintf(b, sizeof b, "%cckpt-dgram-%d", 0, getpid()));
		if (names[i].len)
			must(bind(client[i], (void *)&names[i].a, names[i].len) == 0);
		if (i < 4)
			must(connect(client[i], (void *)&server_name.a, server_name.len) == 0);
	}
	say(client[0], "zero");
	say(client[1], "one");
	say(client[2], "two");
	must(sendto(client[4], "four", 4, 0, (void *)&server_name.a, server_name.len) == 4);
	gone_name = path_name("./gone");
	int gone = bound(SOCK_DGRAM, gone_name);
	must(sendto(gone, "gone", 4, 0, (void *)&server_name.a, server_name.len) == 4);
	must(sendto(gone, "", 0, 0, (void *)&server_name.a, server_name.len) == 0);
	say(client[1], "one more");
	must(sendto(server, "to one", 6, 0, (void *)&names[1].a, names[1].len) == 6);

	/* its peer is closed */
	int orphan = connected(SOCK_DGRAM, gone_name);
	close(gone);
	must(unlink("gone") == 0);

	/* connected to each other by name */
	struct name left = path_name("left"), right = path_name("right");
	int l = bound(SOCK_DGRAM, left), r = bound(SOCK_DGRAM, right);
	must(connect(l, (void *)&right.a, right.len) == 0 && connect(r, (void *)&left.a, left.len) == 0);
	for (int i = 0; i < 30; i++)
		say(l, "to right");
	say(r, "to left");

	/* a pair of which one end has got a name, and one that the kernel has named (SO_PASSCRED) */
	must(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0 && socketpair(AF_UNIX, SOCK_DGRAM, 0, auto_pair) == 0);
	struct name end = path_name("end");
	say(pair[0], "before");
	must(bind(pair[0], (void *)&end.a, end.len) == 0);
	say(pair[0], "after");
	must(setsockopt(auto_pair[0], SOL_SOCKET, SO_PASSCRED, &one, sizeof one) == 0);
	say(auto_pair[0], "auto");
	struct name given = own_name(auto_pair[0]);
	must(given.len == offsetof(struct sockaddr_un, sun_path) + 6);

	/* an end of a pair that has got a name, and another peer */
	struct name moved_name = path_name("moved");
	int moved[2];
	must(socketpair(AF_UNIX, SOCK_DGRAM, 0, moved) == 0 && bind(moved[0], (void *)&moved_name.a, moved_name.len) == 0);
	must(connect(moved[0], (void *)&server_name.a, server_name.len) == 0);

	/* connected to itself */
	struct name self_name = path_name("self");
	int self = bound(SOCK_DGRAM, self_name);
	must(connect(self, (void *)&self_name.a, self_name.len) == 0);
	say(self, "to myself");

	save_me();
	struct name none = {.len = 0};
	expect(server, "zero", none);
	expect(server, "one", names[1]);
	expect(server, "two", names[2]);
	expect(server, "four", none);
	expect(server, "gone", gone_name);
	expect(server, "", gone_name);
	expect(server, "one more", names[1]);
	check(recv(server, b, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
	expect(client[1], "to one", server_name);
	for (int i = 0; i < 4; i++) {
		say(client[i], "again");
		expect(server, "again", names[i]);
		check(same_name(peer_name(client[i]), server_name), "client %d", i);
	}
	say(moved[0], "moved");
	expect(server, "moved", moved_name);
	check(same_name(peer_name(moved[1]), moved_name));
	check(send(moved[1], "x", 1, 0) == -1 && errno == EPERM, "%s", strerror(errno));
	check(send(client[4], "x", 1, 0) == -1 && errno == ENOTCONN);
	check(same_name(peer_name(orphan), gone_name));
	check(send(orphan, "x", 1, 0) == -1 && errno == ECONNREFUSED, "%s", strerror(errno));
	for (int i = 0; i < 30; i++)
		expect(r, "to right", left);
	expect(l, "to left", right);
	check(sendto(client[0], "x", 1, 0, (void *)&left.a, left.len) == -1 && errno == EPERM, "others can send to it");
	say(l, "on");
	expect(r, "on", left);
	expect(pair[1], "before", end);
	expect(pair[1], "after", end);
	say(pair[1], "back");
	expect(pair[0], "back", none);
	expect(auto_pair[1], "auto", given);
	check(same_name(own_name(auto_pair[0]), given));
	expect(self, "to myself", self_name);
	check(same_name(peer_name(self), self_name));
	say(self, "again");
	expect(self, "again", self_name);
	check(sendto(server, "x", 1, 0, (void *)&self_name.a, self_name.len) == -1 && errno == EPERM, "others can send to it");
	return finish();
}
