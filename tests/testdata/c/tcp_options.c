/* Options of TCP sockets, of all levels, and that what a new socket has stays so. */
#include "net.h"
#include <linux/filter.h>

static const struct { int level, name, value; } options[] = {
	{SOL_SOCKET, SO_KEEPALIVE, 1}, {SOL_SOCKET, SO_PRIORITY, 3}, {SOL_SOCKET, SO_RCVLOWAT, 17}, {SOL_SOCKET, SO_MARK, 77},
	{SOL_SOCKET, SO_OOBINLINE, 1}, {SOL_SOCKET, SO_TIMESTAMP, 1}, {SOL_SOCKET, SO_BUSY_POLL, 50}, {SOL_SOCKET, SO_ZEROCOPY, 1},
	{SOL_SOCKET, SO_INCOMING_CPU, 0},
	{IPPROTO_IP, IP_TTL, 33}, {IPPROTO_IP, IP_FREEBIND, 1}, {IPPROTO_IP, IP_TRANSPARENT, 1}, {IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE},
	{IPPROTO_IP, IP_RECVERR, 1}, {IPPROTO_IP, IP_RECVTOS, 1}, {IPPROTO_IP, IP_MINTTL, 2},
	{IPPROTO_TCP, TCP_NODELAY, 1}, {IPPROTO_TCP, TCP_CORK, 1}, {IPPROTO_TCP, TCP_MAXSEG, 1111}, {IPPROTO_TCP, TCP_KEEPIDLE, 61}, {IPPROTO_TCP, TCP_KEEPINTVL, 7},
	{IPPROTO_TCP, TCP_KEEPCNT, 4}, {IPPROTO_TCP, TCP_SYNCNT, 3}, {IPPROTO_TCP, TCP_LINGER2, 20}, {IPPROTO_TCP, TCP_USER_TIMEOUT, 12345},
	{IPPROTO_TCP, TCP_DEFER_ACCEPT, 1}, {IPPROTO_TCP, TCP_FASTOPEN, 16}, {IPPROTO_TCP, TCP_NOTSENT_LOWAT, 9999}, {IPPROTO_TCP, TCP_SAVE_SYN, 1},
	{IPPROTO_TCP, TCP_INQ, 1}, {IPPROTO_TCP, TCP_QUICKACK, 0}, {IPPROTO_TCP, TCP_WINDOW_CLAMP, 70000},
};
#define N (int)(sizeof options / sizeof *options)

static const struct { int name, value; } of6[] = {
	{IPV6_UNICAST_HOPS, 44}, {IPV6_TCLASS, 0x28}, {IPV6_RECVPKTINFO, 1}, {IPV6_RECVHOPLIMIT, 1}, {IPV6_RECVTCLASS, 1}, {IPV6_MTU_DISCOVER, 3},
	{IPV6_RECVERR, 1}, {IPV6_TRANSPARENT, 1}, {IPV6_FREEBIND, 1}, {IPV6_DONTFRAG, 1}, {IPV6_MINHOPCOUNT, 3}, {IPV6_AUTOFLOWLABEL, 0}, {IPV6_V6ONLY, 1},
};
#define N6 (int)(sizeof of6 / sizeof *of6)

static struct linger lingers(int s)
{
	struct linger l = {-1, -1};
	socklen_t n = sizeof l;

	getsockopt(s, SOL_SOCKET, SO_LINGER, &l, &n);
	return l;
}

int main(void)
{
	struct sock_filter all[] = {BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0), BPF_STMT(BPF_RET | BPF_K, 0xffffffff)}, got[8];
	struct sock_fprog program = {2, all};
	struct linger linger = {1, 9};
	struct timeval tv = {3, 300000}, t;
	int new = socket(AF_INET, SOCK_STREAM, 0), new6 = socket(AF_INET6, SOCK_STREAM, 0), s = socket(AF_INET, SOCK_STREAM, 0), s6 = socket(AF_INET6, SOCK_STREAM, 0);
	int defaults[N], defaults6[N6], was[N], was6[N6];
	char name[16] = "", device[16] = "";
	socklen_t n;

	for (int i = 0; i < N; i++) {
		defaults[i] = opt(new, options[i].level, options[i].name);
		must(set(s, options[i].level, options[i].name, options[i].value) == 0 || !printf("option %d of level %d\n", options[i].name, options[i].level));
	}
	for (int i = 0; i < N6; i++) {
		defaults6[i] = opt(new6, IPPROTO_IPV6, of6[i].name);
		must(set(s6, IPPROTO_IPV6, of6[i].name, of6[i].value) == 0 || !printf("option %d of IPv6\n", of6[i].name));
	}
	must(setsockopt(s, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) == 0 && setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv) == 0);
	must(set(s, SOL_SOCKET, SO_RCVBUF, 30000) == 0 && setsockopt(s, IPPROTO_TCP, TCP_CONGESTION, "reno", 4) == 0);
	must(setsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3) == 0);
	must(setsockopt(s6, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0 && set(s6, SOL_SOCKET, SO_LOCK_FILTER, 1) == 0);
	for (int i = 0; i < N; i++)
		was[i] = opt(s, options[i].level, options[i].name);
	for (int i = 0; i < N6; i++)
		was6[i] = opt(s6, IPPROTO_IPV6, of6[i].name);
	int lock = opt(s, SOL_SOCKET, 72), rcvbuf = opt(s, SOL_SOCKET, SO_RCVBUF), sndbuf = opt(new, SOL_SOCKET, SO_SNDBUF), unlocked = opt(new, SOL_SOCKET, 72);
	save_me();

	for (int i = 0; i < N; i++) {
		check(opt(s, options[i].level, options[i].name) == was[i], "option %d of level %d was %d and is %d", options[i].name, options[i].level, was[i], opt(s, options[i].level, options[i].name));
		check(opt(new, options[i].level, options[i].name) == defaults[i], "option %d of level %d of a new socket is %d", options[i].name, options[i].level, opt(new, options[i].level, options[i].name));
	}
	for (int i = 0; i < N6; i++) {
		check(opt(s6, IPPROTO_IPV6, of6[i].name) == was6[i], "option %d of IPv6 was %d and is %d", of6[i].name, was6[i], opt(s6, IPPROTO_IPV6, of6[i].name));
		check(opt(new6, IPPROTO_IPV6, of6[i].name) == defaults6[i], "option %d of IPv6 of a new socket is %d", of6[i].name, opt(new6, IPPROTO_IPV6, of6[i].name));
	}
	linger = lingers(s);
	check(linger.l_onoff == 1 && linger.l_linger == 9 && lingers(new).l_onoff == 0, "%d %d", linger.l_onoff, linger.l_linger);
	n = sizeof t;
	check(getsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &t, &n) == 0 && t.tv_sec == 3 && t.tv_usec == 300000, "%ld %ld", t.tv_sec, t.tv_usec);
	check(opt(s, SOL_SOCKET, SO_RCVBUF) == rcvbuf && opt(new, SOL_SOCKET, SO_SNDBUF) == sndbuf);
	check(opt(s, SOL_SOCKET, 72) == lock && opt(new, SOL_SOCKET, 72) == unlocked, "SO_BUF_LOCK is %d", opt(s, SOL_SOCKET, 72));
	n = sizeof name;
	check(getsockopt(s, IPPROTO_TCP, TCP_CONGESTION, name, &n) == 0 && strcmp(name, "reno") == 0, "%s", name);
	n = sizeof device;
	check(getsockopt(s, SOL_SOCKET, SO_BINDTODEVICE, device, &n) == 0 && strcmp(device, "lo") == 0, "%s", device);
	n = 8;
	check(getsockopt(s6, SOL_SOCKET, SO_GET_FILTER, got, &n) == 0 && n == 2 && memcmp(got, all, sizeof all) == 0, "%d instructions", (int)n);
	check(set(s6, SOL_SOCKET, SO_DETACH_FILTER, 0) == -1 && errno == EPERM, "the filter is not locked");
	return finish();
}
