/* Connections of unix sockets by name, between processes: with data waiting in both directions, one side shut down, or closed with data left; clients with a name of their own; listeners that go on, are closed, or have been removed; names and SO_PEERCRED of both ends */
#include "kids.h"
#include "unix.h"

#define N 28

static struct conn {
	int type, client, accepted, state;
	struct name listens, own; /* own: of the client */
	struct ucred cc, ac;      /* as the client and the other end tell */
} conns[N];
static int listener[4];
static struct name names[4];

enum { OPEN, SHUT, CLIENT_GONE, SERVER_GONE };

static struct ucred cred(int fd)
{
	struct ucred c;
	socklen_t n = sizeof c;

	must(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c, &n) == 0);
	return c;
}

static int type_of(int i) { return i % 2 ? SOCK_SEQPACKET : SOCK_STREAM; }

static void make(struct conn *c, int i, int l)
{
	char own[64];

	c->type = type_of(l);
	c->listens = names[l];
	c->client = socket_of(c->type);
	if (i % 3 == 1) {
		snprintf(own, sizeof own, "own%d", i);
		c->own = path_name(own);
	} else if (i % 3 == 2) {
		c->own = sized_name(own, snprintf(own, sizeof own, "%cckpt-own-%d-%d", 0, getpid(), i));
	}
	if (c->own.len)
		must(bind(c->client, (void *)&c->own.a, c->own.len) == 0);
	else
		c->own = own_name(c->client);
	if (i % 5 == 0)
		must(setegid(9) == 0 && seteuid(65534) == 0);
	must(connect(c->client, (void *)&names[l].a, names[l].len) == 0);
	must(seteuid(0) == 0 && setegid(0) == 0);
	must((c->accepted = accept(listener[l], NULL, NULL)) >= 0);
	c->cc = cred(c->client);
	c->ac = cred(c->accepted);
	must(write(c->client, "request", 7) == 7 && write(c->client, "more", 4) == 4 && write(c->accepted, "answer", 6) == 6);
	c->state = i / 7;
	if (c->state == SHUT)
		must(shutdown(c->client, SHUT_WR) == 0);
	if (c->state == CLIENT_GONE) {
		char b[9];
		must(read(c->client, b, 9) == 6);
		close(c->client);
	}
	if (c->state == SERVER_GONE) {
		char b[12];
		must(recv(c->accepted, b, 7, MSG_WAITALL) == 7 && recv(c->accepted, b, 4, MSG_WAITALL) == 4);
		close(c->accepted);
	}
}

/* The child has the ends that were accepted. */
static void child(int arg)
{
	char b[20];

	(void)arg;
	for (int i = 0; i < N; i++)
		close(conns[i].client);
	wait_restored();
	for (int i = 0; i < N; i++) {
		struct conn *c = &conns[i];
		if (c->state == SERVER_GONE)
			continue;
		struct ucred a = cred(c->accepted);
		check(a.pid == c->ac.pid && a.uid == c->ac.uid && a.gid == c->ac.gid, "%d: pid %d, was %d, user %d", i, a.pid, c->ac.pid, a.uid);
		check(same_name(own_name(c->accepted), c->listens), "%d", i);
		if (c->state != CLIENT_GONE)
			check(same_name(peer_name(c->accepted), c->own), "%d is %.100s", i, peer_name(c->accepted).a.sun_path);
		check(recv(c->accepted, b, 7, MSG_WAITALL) == 7 && !memcmp(b, "request", 7), "%d", i);
		check(recv(c->accepted, b, 4, MSG_WAITALL) == 4 && !memcmp(b, "more", 4), "%d", i);
		int n = recv(c->accepted, b, 9, MSG_DONTWAIT);
		check(c->state == OPEN ? n == 2 && !memcmp(b, "on", 2) : n == 0, "%d: %d %s", i, n, strerror(errno));
		n = send(c->accepted, "late", 4, MSG_NOSIGNAL);
		check(c->state == CLIENT_GONE ? n == -1 && errno == EPIPE : n == 4, "%d: %d", i, n);
	}
}

int main(void)
{
	char b[64];
	struct stat st;

	umask(0);
	names[0] = path_name("stream");
	names[1] = path_name("packets");
	for (int i = 2; i < 4; i++)
		names[i] = sized_name(b, snprintf(b, sizeof b, "%cckpt-conn-%d-%d", 0, getpid(), i));
	for (int i = 0; i < 4; i++) {
		listener[i] = bound(type_of(i), names[i]);
		if (i == 1)
			must(setegid(7) == 0 && seteuid(65533) == 0);
		must(listen(listener[i], 9) == 0);
		must(seteuid(0) == 0 && setegid(0) == 0);
	}
	for (int i = 0; i < N; i++)
		make(&conns[i], i, i % 4);
	must(listen(listener[0], 9) == 0);
	start_kid(child, 0);
	for (int i = 0; i < N; i++)
		if (conns[i].state != SERVER_GONE)
			close(conns[i].accepted);
	close(listener[1]);
	close(listener[3]);
	must(unlink("packets") == 0);
	save_me();
	for (int i = 0; i < N; i++) {
		struct conn *c = &conns[i];
		if (c->state == CLIENT_GONE)
			continue;
		struct ucred a = cred(c->client);
		check(a.pid == c->cc.pid && a.uid == c->cc.uid && a.gid == c->cc.gid, "%d: pid %d, was %d, user %d, was %d", i, a.pid, c->cc.pid, a.uid, c->cc.uid);
		check(same_name(own_name(c->client), c->own), "%d", i);
		if (c->own.len > 3 && c->own.a.sun_path[0])
			check(stat(c->own.a.sun_path, &st) == 0 && S_ISSOCK(st.st_mode), "%d: %s is not there", i, c->own.a.sun_path);
		if (c->state != SERVER_GONE)
			check(same_name(peer_name(c->client), c->listens), "%d", i);
		check(recv(c->client, b, 6, MSG_WAITALL) == 6 && !memcmp(b, "answer", 6), "%d", i);
		if (c->state == OPEN)
			check(write(c->client, "on", 2) == 2);
	}
	finish_kids();
	for (int i = 0; i < N; i++) {
		struct conn *c = &conns[i];
		if (c->state == CLIENT_GONE)
			continue;
		int n = recv(c->client, b, 4, MSG_WAITALL);
		check(c->state == SERVER_GONE ? n == 0 : n == 4 && !memcmp(b, "late", 4), "%d: %d", i, n);
		check(recv(c->client, b, 4, 0) == 0, "%d", i);
	}
	for (int i = 0; i < 4; i += 2) { /* those two go on */
		int fd = connected(type_of(i), names[i]), other = accept(listener[i], NULL, NULL);
		check(write(fd, "x", 1) == 1 && read(other, b, 1) == 1);
	}
	check(access("packets", F_OK) == -1);
	return finish();
}
