/* Netlink sockets: bound and not, groups, also above 32, options; that the kernel
 * answers and reports. */
#include "kids.h"
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define HIGH 33 /* RTNLGRP_BRVLAN */

static struct sockaddr_nl self(int s)
{
	struct sockaddr_nl a = {0};
	socklen_t n = sizeof a;

	getsockname(s, (void *)&a, &n);
	return a;
}

static int make(int proto, uint32_t groups, int bound)
{
	struct sockaddr_nl a = {.nl_family = AF_NETLINK, .nl_groups = groups};
	int s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, proto);

	must(s >= 0 && (!bound || bind(s, (void *)&a, sizeof a) == 0));
	return s;
}

/* answers asks for the loopback interface. */
static int answers(int s)
{
	struct { struct nlmsghdr h; struct ifinfomsg i; } ask = {{sizeof ask, RTM_GETLINK, NLM_F_REQUEST, 7, 0}, {.ifi_index = 1}};
	char buf[16384];
	struct pollfd p = {s, POLLIN, 0};

	if (send(s, &ask, sizeof ask, 0) != sizeof ask || poll(&p, 1, 5000) != 1 || recv(s, buf, sizeof buf, 0) < (ssize_t)sizeof ask)
		return -1;
	return ((struct nlmsghdr *)buf)->nlmsg_type == RTM_NEWLINK && ((struct nlmsghdr *)buf)->nlmsg_seq == 7;
}

static int reported(int s)
{
	struct pollfd p = {s, POLLIN, 0};
	char buf[16384];

	return poll(&p, 1, 5000) == 1 && recv(s, buf, sizeof buf, MSG_DONTWAIT) > 0;
}

static int option(int s, int name)
{
	int v = -1;
	socklen_t n = sizeof v;

	return getsockopt(s, SOL_NETLINK, name, &v, &n) == 0 ? v : -1;
}

static int high(int s)
{
	uint32_t groups[4] = {0};
	socklen_t n = sizeof groups;

	return getsockopt(s, SOL_NETLINK, NETLINK_LIST_MEMBERSHIPS, groups, &n) == 0 && groups[(HIGH - 1) / 32] >> (HIGH - 1) % 32 & 1;
}

static int shared;

static void child(int arg)
{
	struct sockaddr_nl a;

	int own = make(NETLINK_ROUTE, 0, 1);
	a = self(own);
	wait_restored();
	check(self(own).nl_pid == a.nl_pid && self(own).nl_pid == (uint32_t)getpid() && answers(own) == 1);
	check(answers(shared) == 1);
}

int main(void)
{
	int fresh = make(NETLINK_ROUTE, 0, 0), first = make(NETLINK_ROUTE, 0, 1), second = make(NETLINK_ROUTE, 0, 1), one = 1, big = HIGH;
	int watches = make(NETLINK_ROUTE, RTMGRP_LINK | RTMGRP_IPV4_IFADDR, 1), events = make(NETLINK_KOBJECT_UEVENT, 1, 1), generic = make(NETLINK_GENERIC, 0, 1), diag = make(NETLINK_SOCK_DIAG, 0, 0);
	struct sockaddr_nl was[4] = {self(first), self(second), self(watches), self(events)};
	struct ifreq req = {.ifr_name = "lo", .ifr_mtu = 65000};
	int ip = socket(AF_INET, SOCK_DGRAM, 0);

	must(setsockopt(second, SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof one) == 0 && setsockopt(second, SOL_NETLINK, NETLINK_PKTINFO, &one, sizeof one) == 0);
	must(setsockopt(second, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &big, sizeof big) == 0 && fcntl(watches, F_SETFL, O_NONBLOCK) == 0);
	must(answers(first) == 1 && was[0].nl_pid == (uint32_t)getpid() && was[2].nl_groups == (RTMGRP_LINK | RTMGRP_IPV4_IFADDR));
	shared = second;
	start_kid(child, 0);
	for (char buf[16384]; recv(watches, buf, sizeof buf, MSG_DONTWAIT) > 0;)
		;
	save_me();

	finish_kids();
	for (int i = 0, s[] = {first, second, watches, events}; i < 4; i++)
		check(self(s[i]).nl_pid == was[i].nl_pid && self(s[i]).nl_groups == was[i].nl_groups, "socket %d: port %u, groups %#x", i, self(s[i]).nl_pid, self(s[i]).nl_groups);
	check(self(fresh).nl_pid == 0 && answers(fresh) == 1 && answers(first) == 1 && self(fresh).nl_pid != 0);
	check(option(second, NETLINK_EXT_ACK) == 1 && option(second, NETLINK_PKTINFO) == 1 && option(first, NETLINK_EXT_ACK) == 0);
	check(high(second) && !high(first));
	check(fcntl(watches, F_GETFL) & O_NONBLOCK && fcntl(watches, F_GETFD) == FD_CLOEXEC);
	check(ioctl(ip, 0x8922 /* SIOCSIFMTU */, &req) == 0 && reported(watches), "nothing is reported");
	req.ifr_mtu = 65536;
	ioctl(ip, 0x8922, &req);
	int v = -1;
	socklen_t n = sizeof v;
	check(getsockopt(generic, SOL_SOCKET, SO_PROTOCOL, &v, &n) == 0 && v == NETLINK_GENERIC && getsockopt(diag, SOL_SOCKET, SO_PROTOCOL, &v, &n) == 0 && v == NETLINK_SOCK_DIAG);
	return finish();
}
