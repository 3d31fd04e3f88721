/* TCP sockets that listen: on which addresses, with which ports, backlogs and options,
 * one of them shared with a child. */
#include "kids.h"
#include "net.h"

static int shared;

static int backlog_of(int s)
{
	struct tcp_info info = {0};
	socklen_t n = sizeof info;

	must(getsockopt(s, IPPROTO_TCP, TCP_INFO, &info, &n) == 0 && info.tcpi_state == TCP_LISTEN);
	return info.tcpi_sacked;
}

static void child(int port)
{
	wait_restored();
	serves(shared, "127.0.0.1", port);
}

int main(void)
{
	int only6 = socket(AF_INET6, SOCK_STREAM, 0), dual, any, one, two, bare, n = 0, s[8];
	addr a, was[8];

	/* both families on one port, and two addresses with another */
	any = listener("0.0.0.0", 0, 5);
	a = self(any);
	a = ip("::", port_of(&a));
	must(set(only6, IPPROTO_IPV6, IPV6_V6ONLY, 1) == 0 && bind(only6, &a.sa, size_of(&a)) == 0 && listen(only6, 9) == 0);
	one = listener("127.0.0.1", 0, 128);
	a = self(one);
	two = listener("127.0.0.2", port_of(&a), 0);
	dual = socket(AF_INET6, SOCK_STREAM, 0);
	a = ip("::", 0);
	must(set(dual, IPPROTO_IPV6, IPV6_V6ONLY, 0) == 0 && bind(dual, &a.sa, size_of(&a)) == 0 && listen(dual, 3) == 0);
	bare = socket(AF_INET, SOCK_STREAM, 0); /* without bind(2) */
	must(listen(bare, 1) == 0 && fcntl(bare, F_SETFL, O_NONBLOCK) == 0);
	int mapped = bound(SOCK_STREAM, ip("::ffff:127.0.0.3", 0), 0);
	must(listen(mapped, 4096) == 0);
	shared = listener("127.0.0.1", 0, 7);
	for (int list[] = {any, only6, one, two, dual, bare, mapped, shared}; n < 8; n++) {
		s[n] = list[n];
		was[n] = self(s[n]);
	}
	start_kid(child, port_of(&was[7]));
	save_me();

	for (n = 0; n < 8; n++)
		check(same_addr(self(s[n]), was[n]), "listener %d has port %d", n, port_of(&was[n]));
	check(backlog_of(any) == 5 && backlog_of(only6) == 9 && backlog_of(one) == 128 && backlog_of(two) == 0 && backlog_of(mapped) == 4096,
	      "%d %d %d %d %d", backlog_of(any), backlog_of(only6), backlog_of(one), backlog_of(two), backlog_of(mapped));
	check(opt(any, SOL_SOCKET, SO_REUSEADDR) == 1 && opt(only6, SOL_SOCKET, SO_REUSEADDR) == 0 && opt(mapped, SOL_SOCKET, SO_REUSEADDR) == 0);
	check(opt(only6, IPPROTO_IPV6, IPV6_V6ONLY) == 1 && opt(dual, IPPROTO_IPV6, IPV6_V6ONLY) == 0);
	check(accept(bare, NULL, NULL) == -1 && errno == EAGAIN, "%s", strerror(errno));
	finish_kids();
	serves(any, "127.0.0.1", port_of(&was[0]));
	serves(only6, "::1", port_of(&was[1]));
	serves(one, "127.0.0.1", port_of(&was[2]));
	serves(two, "127.0.0.2", port_of(&was[3]));
	serves(dual, "::1", port_of(&was[4]));
	serves(dual, "127.0.0.1", port_of(&was[4]));
	serves(mapped, "127.0.0.3", port_of(&was[6]));
	check(dial("127.0.0.2", port_of(&was[6])) == -1 && errno == ECONNREFUSED);
	return finish();
}
