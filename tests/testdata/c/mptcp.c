/* MPTCP sockets that listen, as those of Go programs do, and new ones; connected ones,
 * which are reset when what was not read is read. */
#include "net.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

int main(void)
{
	int s = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP), fresh = socket(AF_INET6, SOCK_STREAM, IPPROTO_MPTCP), one;
	addr a = ip("127.0.0.1", 0);

	must(s >= 0 && fresh >= 0 && set(s, SOL_SOCKET, SO_REUSEADDR, 1) == 0 && set(s, IPPROTO_TCP, TCP_NODELAY, 1) == 0);
	must(bind(s, &a.sa, size_of(&a)) == 0 && listen(s, 5) == 0);
	a = self(s);
	int client = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP), server;
	char buf[20];
	must(connect(client, &a.sa, size_of(&a)) == 0 && (server = accept(s, NULL, NULL)) >= 0);
	must(opt(server, SOL_SOCKET, SO_PROTOCOL) == IPPROTO_MPTCP && write(client, "unread", 6) == 6 && events(server, POLLIN, 2000));
	save_me();
	check(recv(server, buf, sizeof buf, MSG_DONTWAIT) == 6 && memcmp(buf, "unread", 6) == 0);
	check(recv(server, buf, 1, MSG_DONTWAIT) == -1 && errno == ECONNRESET, "%s", strerror(errno));
	check(recv(client, buf, 1, MSG_DONTWAIT) == -1 && errno == ECONNRESET, "%s", strerror(errno));
	check(opt(s, SOL_SOCKET, SO_PROTOCOL) == IPPROTO_MPTCP && opt(fresh, SOL_SOCKET, SO_PROTOCOL) == IPPROTO_MPTCP);
	check(same_addr(self(s), a) && opt(s, IPPROTO_TCP, TCP_NODELAY) == 1 && opt(s, SOL_SOCKET, SO_REUSEADDR) == 1);
	serves(s, "127.0.0.1", port_of(&a));
	one = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
	check(connect(one, &a.sa, size_of(&a)) == 0 && accept(s, NULL, NULL) >= 0);
	return finish();
}
