/* TCP sockets that were never connected: new, bound, and what they are good for. */
#include "net.h"

int main(void)
{
	int fresh = socket(AF_INET, SOCK_STREAM, 0), fresh6 = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int named = bound(SOCK_STREAM, ip("127.0.0.1", 0), 0), from = bound(SOCK_STREAM, ip("127.0.0.7", 0), SO_REUSEADDR);
	int only_ip = socket(AF_INET, SOCK_STREAM, 0), on = listener("127.0.0.1", 0, 5);
	addr a = ip("127.0.0.9", 0), was = self(named), was_from = self(from), to = self(on), none = {0};

	must(set(only_ip, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1) == 0 && bind(only_ip, &a.sa, size_of(&a)) == 0);
	save_me();

	none.in.sin_family = AF_INET;
	check(same_addr(self(fresh), none) && peer_port(fresh) == -1 && errno == ENOTCONN);
	check(fcntl(fresh6, F_GETFL) & O_NONBLOCK && fcntl(fresh6, F_GETFD) == FD_CLOEXEC && !(fcntl(fresh, F_GETFL) & O_NONBLOCK));
	check(same_addr(self(named), was) && same_addr(self(from), was_from));
	check(opt(named, SOL_SOCKET, SO_REUSEADDR) == 0 && opt(from, SOL_SOCKET, SO_REUSEADDR) == 1);
	check(bind(socket(AF_INET, SOCK_STREAM, 0), &was.sa, size_of(&was)) == -1 && errno == EADDRINUSE, "somebody else gets the address");
	a = self(only_ip);
	check(a.in.sin_addr.s_addr == inet_addr("127.0.0.9") && port_of(&a) == 0, "port %d", port_of(&a));
	check(opt(only_ip, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT) == 1);

	check(listen(named, 3) == 0);
	serves(named, "127.0.0.1", port_of(&was));
	for (int i = 0, s[] = {fresh, from, only_ip}; i < 3; i++) {
		addr b = self(s[i]), peer = {0};
		socklen_t n = sizeof peer;
		check(connect(s[i], &to.sa, size_of(&to)) == 0, "%d: %s", i, strerror(errno));
		int c = accept(on, &peer.sa, &n);
		check(c >= 0 && (i == 0 || peer.in.sin_addr.s_addr == b.in.sin_addr.s_addr) && (i != 1 || port_of(&peer) == port_of(&b)), "%d", i);
	}
	return finish();
}
