/* UDP and UDP-Lite sockets: bound, connected, shut down, with options; datagrams that waited are
 * lost, and later ones come. */
#include "net.h"

static int sends(int from, int to, const char *text)
{
	addr a = self(to);

	if (a.sa.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&a.in6.sin6_addr))
		a = ip("::1", port_of(&a));
	return sendto(from, text, strlen(text), 0, &a.sa, size_of(&a));
}

static int gets(int s, const char *text)
{
	char buf[64] = {0};
	int n = events(s, POLLIN, 1000) & POLLIN ? recv(s, buf, sizeof buf - 1, MSG_DONTWAIT) : -1;

	return n == (int)strlen(text) && strcmp(buf, text) == 0;
}

int main(void)
{
	int fresh = socket(AF_INET, SOCK_DGRAM, 0), named = bound(SOCK_DGRAM, ip("127.0.0.1", 0), 0), six = bound(SOCK_DGRAM, ip("::", 0), 0);
	int client = socket(AF_INET, SOCK_DGRAM, 0), server = bound(SOCK_DGRAM, ip("127.0.0.1", 0), 0), deaf = socket(AF_INET, SOCK_DGRAM, 0);
	int shared = bound(SOCK_DGRAM, ip("127.0.0.1", 0), SO_REUSEADDR), other = socket(AF_INET6, SOCK_DGRAM, 0), all[7];
	addr a = self(server), was[7];
	char c;

	must(connect(client, &a.sa, size_of(&a)) == 0 && connect(deaf, &a.sa, size_of(&a)) == 0 && shutdown(deaf, SHUT_RD) == 0);
	a = self(client);
	must(connect(server, &a.sa, size_of(&a)) == 0);
	must(set(six, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) == 0 && set(named, IPPROTO_IP, IP_PKTINFO, 1) == 0 && set(named, SOL_SOCKET, SO_BROADCAST, 1) == 0);
	must(set(named, SOL_SOCKET, SO_RCVBUF, 50000) == 0 && set(named, IPPROTO_IP, IP_MULTICAST_TTL, 9) == 0 && set(named, IPPROTO_IP, IP_MULTICAST_LOOP, 0) == 0);
	int buf = opt(named, SOL_SOCKET, SO_RCVBUF), rcvbuf = opt(fresh, SOL_SOCKET, SO_RCVBUF);
	must(sends(fresh, named, "lost") == 4 && events(named, POLLIN, 1000) == POLLIN); /* this binds it, too */
	for (int i = 0, list[] = {fresh, named, six, client, server, deaf, shared}; i < 7; i++)
		was[i] = self(all[i] = list[i]);
	int lite = socket(AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE); /* not every kernel has them */
	a = ip("127.0.0.1", 0);
	must(lite < 0 || (bind(lite, &a.sa, size_of(&a)) == 0 && set(lite, IPPROTO_UDPLITE, 10 /* UDPLITE_SEND_CSCOV */, 20) == 0));
	addr lite_at = lite < 0 ? a : self(lite);
	save_me();

	for (int i = 0; i < 7; i++)
		check(same_addr(self(all[i]), was[i]), "socket %d: port %d", i, port_of(&was[i]));
	check(opt(named, SOL_SOCKET, SO_RCVBUF) == buf && opt(fresh, SOL_SOCKET, SO_RCVBUF) == rcvbuf);
	check(opt(named, SOL_SOCKET, SO_BROADCAST) == 1 && opt(named, IPPROTO_IP, IP_PKTINFO) == 1 && opt(six, IPPROTO_IPV6, IPV6_RECVPKTINFO) == 1);
	check(opt(named, IPPROTO_IP, IP_MULTICAST_TTL) == 9 && opt(named, IPPROTO_IP, IP_MULTICAST_LOOP) == 0 && opt(shared, SOL_SOCKET, SO_REUSEADDR) == 1);
	check(events(named, POLLIN, 0) == 0, "a datagram that was lost");
	check(sends(fresh, named, "again") == 5 && gets(named, "again"));
	check(sends(other, six, "six") == 3 && gets(six, "six"));
	check(peer_port(client) == port_of(&was[4]) && peer_port(server) == port_of(&was[3]) && peer_port(named) == -1);
	check(send(client, "ping", 4, 0) == 4 && gets(server, "ping") && send(server, "pong", 4, 0) == 4 && gets(client, "pong"));
	check(sends(fresh, client, "stranger") == 8 && !gets(client, "stranger"), "it is not connected");
	check(events(deaf, POLLRDHUP, 1000) == POLLRDHUP && recv(deaf, &c, 1, 0) == 0, "it is not shut down: %s", strerror(errno));
	check(send(deaf, "x", 1, 0) == 1);
	if (lite >= 0) {
		check(same_addr(self(lite), lite_at) && opt(lite, SOL_SOCKET, SO_PROTOCOL) == IPPROTO_UDPLITE && opt(lite, IPPROTO_UDPLITE, 10) == 20);
		check(sends(lite, lite, "lite") == 4 && gets(lite, "lite"));
	}
	return finish();
}
