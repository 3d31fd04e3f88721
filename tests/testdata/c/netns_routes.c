/* Routes, rules and neighbours of a network namespace, of IPv4 and IPv6. */
#include "netns.h"

static int fails(const char *to)
{
	addr a = ip(to, 9);
	int s = socket(a.sa.sa_family, SOCK_DGRAM, 0), err;

	err = connect(s, &a.sa, size_of(&a)) == 0 ? 0 : errno;
	close(s);
	return err;
}

static int from(const char *to, const char *want)
{
	addr a = ip(to, 9), b;
	int s = socket(a.sa.sa_family, SOCK_DGRAM, 0), same;

	connect(s, &a.sa, size_of(&a));
	b = self(s), a = ip(want, port_of(&b));
	same = same_addr(a, b);
	close(s);
	return same;
}

static void answers(void)
{
	check(fails("10.5.1.1") == 0 && from("10.5.1.1", "10.0.0.5") && from("10.20.0.1", "10.0.0.1"));
	check(fails("10.6.1.1") == EINVAL && fails("10.6.5.1") == EACCES && fails("10.10.1.1") == EHOSTUNREACH && fails("10.10.2.1") == 0);
	check(fails("fd06::1") == EACCES && from("fd05::1", "fd00::1"));
	check(from("10.8.0.2", "10.8.0.1"));
}

int main(void)
{
	fill("ip link set lo up; ip link add name va type veth peer name vb; ip link set va up; ip link set vb up\n"
		"ip addr add 10.0.0.1/24 dev va; ip addr add 10.0.0.5/24 dev va; ip addr add fd00::1/64 dev va nodad; ip addr add 10.8.0.1/32 peer 10.8.0.2/32 dev vb\n"
		"ip route add default via 10.0.0.254; ip route add 10.5.0.0/16 via 10.0.0.7 metric 50 mtu 1300 src 10.0.0.5; ip route add 10.5.0.0/16 via 10.0.0.8 metric 60\n"
		"ip route add blackhole 10.6.0.0/16; ip route add prohibit 10.6.5.0/24; ip route add local 192.168.0.0/16 dev lo table 100; ip route add 10.7.0.0/16 via 1.2.3.4 dev va onlink\n"
		"ip route add 10.9.0.0/16 nexthop via 10.0.0.7 weight 3 nexthop via 10.0.0.9; ip route add unreachable 10.10.0.0/16 table 70000\n"
		"ip -6 route add default via fd00::254; ip -6 route add fd05::/64 via fd00::7 pref high; ip -6 route add prohibit fd06::/64; ip -6 route add fd08::/64 via fd00::7 expires 1000\n"
		"ip rule add to 192.168.0.0/16 table 100; ip rule add fwmark 5/0xff table 70000; ip rule add to 10.10.1.0/24 table 70000 priority 77; ip rule add iif lo ipproto tcp dport 80-90 uidrange 5-10 table 7\n"
		"ip rule del priority 32767; ip -6 rule add from fd77::/16 prohibit\n"
		"ip neigh add 10.0.0.7 lladdr 02:00:00:00:00:07 dev va; ip neigh add fd00::7 lladdr 02:00:00:00:00:07 dev va router; ip neigh add proxy 10.0.0.99 dev va");
	char *before = listed();
	answers();
	save_me();

	as_before(before);
	answers();
	return finish();
}
