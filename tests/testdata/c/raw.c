/* Raw sockets and sockets of ICMP, bound and not, with their options and filters; that
 * they send and receive. */
#include "net.h"
#include <linux/icmp.h>
#include <netinet/icmp6.h>

#define SOL_RAW 255

/* echoes sends a request to a loopback address and waits for the answer. */
static int echoes(int s, int raw)
{
	struct icmphdr req = {.type = ICMP_ECHO, .un.echo.sequence = htons(7)};
	addr to = ip("127.0.0.1", 0);
	char buf[200];
	int n;

	req.checksum = ~(htons(ICMP_ECHO << 8) + htons(7));
	if (sendto(s, &req, sizeof req, 0, &to.sa, size_of(&to)) != sizeof req)
		return -1;
	while (events(s, POLLIN, 2000) & POLLIN && (n = recv(s, buf, sizeof buf, MSG_DONTWAIT)) > 0) {
		struct icmphdr *h = (void *)(buf + (raw ? 20 : 0));
		if (h->type == ICMP_ECHOREPLY && h->un.echo.sequence == htons(7))
			return 1;
	}
	return 0;
}

int main(void)
{
	struct icmp_filter filter = {~(1 << ICMP_ECHOREPLY)}, got = {0};
	struct icmp6_filter filter6, got6;
	int raw = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP), other = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, 253), ping = -1, six = socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6);
	addr a = ip("127.0.0.3", 0), none = ip("0.0.0.0", 0);
	FILE *range = fopen("/proc/sys/net/ipv4/ping_group_range", "w");
	socklen_t n;

	must(range && fprintf(range, "0 2147483647") > 0 && fclose(range) == 0);
	must((ping = socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP)) >= 0 && bind(ping, &none.sa, size_of(&none)) == 0);
	must(raw >= 0 && other >= 0 && six >= 0 && setsockopt(raw, SOL_RAW, ICMP_FILTER, &filter, sizeof filter) == 0);
	ICMP6_FILTER_SETBLOCKALL(&filter6);
	ICMP6_FILTER_SETPASS(ICMP6_ECHO_REPLY, &filter6);
	must(setsockopt(six, IPPROTO_ICMPV6, ICMP6_FILTER, &filter6, sizeof filter6) == 0 && set(six, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1) == 0);
	must(set(other, IPPROTO_IP, IP_HDRINCL, 1) == 0 && bind(other, &a.sa, size_of(&a)) == 0 && set(raw, IPPROTO_IP, IP_TTL, 9) == 0);
	must(echoes(raw, 1) == 1 && echoes(ping, 0) == 1);
	addr was = self(other), id = self(ping);
	save_me();

	check(opt(raw, SOL_SOCKET, SO_TYPE) == SOCK_RAW && opt(raw, SOL_SOCKET, SO_PROTOCOL) == IPPROTO_ICMP && opt(other, SOL_SOCKET, SO_PROTOCOL) == 253);
	n = sizeof got;
	check(getsockopt(raw, SOL_RAW, ICMP_FILTER, &got, &n) == 0 && got.data == filter.data, "%#x", got.data);
	n = sizeof got6;
	check(getsockopt(six, IPPROTO_ICMPV6, ICMP6_FILTER, &got6, &n) == 0 && memcmp(&got6, &filter6, sizeof got6) == 0);
	check(opt(six, IPPROTO_IPV6, IPV6_RECVHOPLIMIT) == 1 && opt(other, IPPROTO_IP, IP_HDRINCL) == 1 && opt(raw, IPPROTO_IP, IP_HDRINCL) == 0 && opt(raw, IPPROTO_IP, IP_TTL) == 9);
	check(same_addr(self(other), was) && same_addr(self(ping), id) && port_of(&id) != 0, "identifier %d", port_of(&id));
	check(echoes(raw, 1) == 1 && echoes(ping, 0) == 1);
	return finish();
}
