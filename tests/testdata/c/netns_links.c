/* Interfaces in a network namespace: veths, a bridge with ports, tun and tap, with their
 * numbers, names, addresses and settings; packets take their way over them. */
#include "netns.h"

int main(void)
{
	char buf[8] = "";
	int s[2];
	addr a;

	fill("ip link set lo up mtu 30000 alias 'the \"loop\"'\n"
		"ip link add name va index 40 mtu 1400 address 02:00:00:00:00:01 type veth peer name vb index 9\n"
		"ip link add name br type bridge forward_delay 400 ageing_time 5000 mcast_snooping 0\n"
		"ip link add name vc type veth peer name vd; ip link set vc master br; bridge link set dev vc cost 7 hairpin on\n"
		"ip link set vb master br; for l in va vb vc vd br; do ip link set dev $l up; done\n"
		"ip tuntap add dev tun7 mode tun user 5; ip tuntap add dev tap7 mode tap group 6 multi_queue; ip link set dev tap7 up txqueuelen 77\n"
		"ip link add name ifb7 type ifb; ip link set dev ifb7 up group 4 promisc on\n"
		"ip link property add dev va altname another-name-for-the-interface\n"
		"ip addr add 10.1.0.1/24 dev va; ip addr add 10.1.0.2/24 dev vd; ip addr add fd01::1/64 dev va nodad; ip addr add 10.2.0.1/24 dev tun7; ip addr add 10.3.0.1/24 dev ifb7");
	must(within(!*shell("ip -o link show up | grep -v LOWER_UP | grep -v NO-CARRIER; true"))); /* it is known which have none */
	for (int i = 0; i < 2; i++)
		must((s[i] = socket(AF_INET, SOCK_DGRAM, 0)) >= 0);
	must(setsockopt(s[0], SOL_SOCKET, SO_BINDTODEVICE, "va", 3) == 0 && setsockopt(s[1], SOL_SOCKET, SO_BINDTODEVICE, "vd", 3) == 0);
	a = ip("10.1.0.2", 5000);
	must(bind(s[1], &a.sa, size_of(&a)) == 0);
	/* A reply would be taken for one to itself by the same host. */
	fill("for i in all va vd; do echo 1 > /proc/sys/net/ipv4/conf/$i/accept_local; echo 0 > /proc/sys/net/ipv4/conf/$i/rp_filter; done; ip neigh add 10.1.0.2 lladdr $(ip -o link show dev vd | sed 's/.*ether \\([^ ]*\\).*/\\1/') dev va nud permanent");
	must(sendto(s[0], "first", 5, 0, &a.sa, size_of(&a)) == 5);
	must(within(recv(s[1], buf, sizeof buf, MSG_DONTWAIT) == 5));
	char *before = listed();
	save_me();

	as_before(before);
	check(if_nametoindex("va") == 40 && if_nametoindex("vb") == 9);
	memset(buf, 0, sizeof buf);
	check(sendto(s[0], "again", 5, 0, &a.sa, size_of(&a)) == 5, "%s", strerror(errno));
	check(within(recv(s[1], buf, sizeof buf, MSG_DONTWAIT) == 5) && !strcmp(buf, "again"), "over the bridge: %s", buf);
	return finish();
}
