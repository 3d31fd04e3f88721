/* Multicast groups of UDP sockets, over IPv4 and IPv6, with sources and without; what is
 * sent there comes. */
#include "net.h"
#include <net/if.h>

static int lo;

static void join(int s, const char *group)
{
	struct group_req req = {.gr_interface = lo};
	addr a = ip(group, 0);

	memcpy(&req.gr_group, &a, sizeof a);
	must(setsockopt(s, a.sa.sa_family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6, MCAST_JOIN_GROUP, &req, sizeof req) == 0);
}

static void source(int s, const char *group, const char *from, int how)
{
	struct group_source_req req = {.gsr_interface = lo};
	addr a = ip(group, 0), b = ip(from, 0);

	memcpy(&req.gsr_group, &a, sizeof a);
	memcpy(&req.gsr_source, &b, sizeof b);
	must(setsockopt(s, a.sa.sa_family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6, how, &req, sizeof req) == 0);
}

/* filter returns the mode of a membership and the number of sources; -1: there is none. */
static int filter(int s, const char *group, int *sources)
{
	static char buf[GROUP_FILTER_SIZE(10)];
	struct group_filter *f = (void *)buf;
	addr a = ip(group, 0);
	socklen_t n = sizeof buf;

	memset(buf, 0, sizeof buf);
	f->gf_interface = lo;
	f->gf_numsrc = 10;
	memcpy(&f->gf_group, &a, sizeof a);
	if (getsockopt(s, a.sa.sa_family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6, MCAST_MSFILTER, f, &n))
		return -1;
	*sources = f->gf_numsrc;
	return f->gf_fmode;
}

static int arrives(int from, int to, const char *group)
{
	addr at = self(to), a = ip(group, port_of(&at));
	char c = 0;

	if (a.sa.sa_family == AF_INET6)
		a.in6.sin6_scope_id = lo;
	return sendto(from, "m", 1, 0, &a.sa, size_of(&a)) == 1 && events(to, POLLIN, 300) & POLLIN && recv(to, &c, 1, MSG_DONTWAIT) == 1 && c == 'm';
}

int main(void)
{
	int four = bound(SOCK_DGRAM, ip("0.0.0.0", 0), 0), six = bound(SOCK_DGRAM, ip("::", 0), 0), none = bound(SOCK_DGRAM, ip("0.0.0.0", 0), 0), n = -1;
	int from = bound(SOCK_DGRAM, ip("127.0.0.1", 0), 0), other = bound(SOCK_DGRAM, ip("127.0.0.2", 0), 0), from6 = bound(SOCK_DGRAM, ip("::1", 0), 0);

	lo = if_nametoindex("lo");
	struct ip_mreqn out = {.imr_ifindex = lo};
	for (int i = 0, s[] = {from, other}; i < 2; i++)
		must(setsockopt(s[i], IPPROTO_IP, IP_MULTICAST_IF, &out, sizeof out) == 0);
	must(set(from6, IPPROTO_IPV6, IPV6_MULTICAST_IF, lo) == 0 && set(none, IPPROTO_IP, IP_MULTICAST_ALL, 0) == 0);
	join(four, "239.1.2.3");
	source(four, "239.1.2.4", "127.0.0.1", MCAST_JOIN_SOURCE_GROUP);
	join(four, "239.1.2.5");
	source(four, "239.1.2.5", "127.0.0.1", MCAST_BLOCK_SOURCE);
	join(six, "ff02::1234");
	source(six, "ff02::1235", "::5", MCAST_JOIN_SOURCE_GROUP);
	join(six, "239.1.2.6");
	int works = arrives(from6, six, "ff02::1234"); /* not where lo has no such route */
	save_me();

	check(filter(four, "239.1.2.3", &n) == MCAST_EXCLUDE && n == 0, "%d", n);
	check(filter(four, "239.1.2.4", &n) == MCAST_INCLUDE && n == 1, "%d", n);
	check(filter(four, "239.1.2.5", &n) == MCAST_EXCLUDE && n == 1, "%d", n);
	check(filter(four, "239.1.2.6", &n) == -1 && filter(none, "239.1.2.3", &n) == -1 && filter(six, "239.1.2.6", &n) == MCAST_EXCLUDE);
	check(filter(six, "ff02::1234", &n) == MCAST_EXCLUDE && n == 0, "%d", n);
	check(filter(six, "ff02::1235", &n) == MCAST_INCLUDE && n == 1, "%d", n);
	check(arrives(from, four, "239.1.2.3") && arrives(other, four, "239.1.2.3"));
	check(arrives(from, four, "239.1.2.4") && !arrives(other, four, "239.1.2.4"), "from the wrong source");
	check(!arrives(from, four, "239.1.2.5") && arrives(other, four, "239.1.2.5"), "from the wrong source");
	check(arrives(from6, six, "ff02::1234") == works && !arrives(from6, six, "ff02::1235"));
	check(!arrives(from, none, "239.1.2.3"), "it is in no group");
	return finish();
}
