/* Settings of a network namespace and of its interfaces; what they do to new sockets. */
#include "netns.h"

static const struct { const char *name, *set; } all[] = {
	{"ipv4/ip_local_port_range", "20000 20100"}, {"ipv4/ip_unprivileged_port_start", "80"}, {"ipv4/ip_forward", "1"}, {"ipv4/conf/va/forwarding", "0"},
	{"ipv4/tcp_rmem", "4096 100000 200000"}, {"ipv4/conf/all/rp_filter", "2"}, {"ipv4/conf/default/rp_filter", "1"}, {"ipv4/conf/lo/rp_filter", "0"},
	{"ipv4/neigh/va/gc_stale_time", "33"}, {"ipv4/tcp_fastopen_key", "01020304-05060708-090a0b0c-0d0e0f00"}, {"ipv4/ping_group_range", "5 10"},
	{"ipv6/conf/all/forwarding", "1"}, {"ipv6/conf/va/forwarding", "0"}, {"ipv6/conf/vb/disable_ipv6", "1"}, {"ipv6/conf/default/use_tempaddr", "2"},
	{"ipv6/bindv6only", "1"}, {"core/somaxconn", "77"}, {"unix/max_dgram_qlen", "99"},
};
enum { n = sizeof all / sizeof all[0] };

int main(void)
{
	char line[200], *text[n];
	int s;
	addr a;

	fill("ip link set lo up; ip link add name va type veth peer name vb; ip link set va up; ip link set vb up");
	for (int i = 0; i < n; i++) {
		snprintf(line, sizeof line, "echo '%s' > /proc/sys/net/%s", all[i].set, all[i].name);
		fill(line);
	}
	for (int i = 0; i < n; i++)
		text[i] = value(all[i].name);
	char *before = listed();
	save_me();

	for (int i = 0; i < n; i++)
		check(!strcmp(text[i], value(all[i].name)), "%s: %s, was %s", all[i].name, value(all[i].name), text[i]);
	as_before(before);
	s = bound(SOCK_STREAM, ip("127.0.0.1", 0), 0);
	a = self(s);
	check(port_of(&a) >= 20000 && port_of(&a) <= 20100, "%d", port_of(&a));
	s = socket(AF_INET6, SOCK_STREAM, 0);
	check(opt(s, IPPROTO_IPV6, IPV6_V6ONLY) == 1);
	return finish();
}
