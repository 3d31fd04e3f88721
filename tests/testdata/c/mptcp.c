/* MPTCP sockets that listen, as those of Go programs do, and new ones. */
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
	save_me();
	check(opt(s, SOL_SOCKET, SO_PROTOCOL) == IPPROTO_MPTCP && opt(fresh, SOL_SOCKET, SO_PROTOCOL) == IPPROTO_MPTCP);
	check(same_addr(self(s), a) && opt(s, IPPROTO_TCP, TCP_NODELAY) == 1 && opt(s, SOL_SOCKET, SO_REUSEADDR) == 1);
	serves(s, "127.0.0.1", port_of(&a));
	one = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
	check(connect(one, &a.sa, size_of(&a)) == 0 && accept(s, NULL, NULL) >= 0);
	return finish();
}
