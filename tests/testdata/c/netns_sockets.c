/* Sockets in a network namespace: a server of TCP and its clients, over IPv4 and IPv6, on
 * addresses that the host does not have, one end in a child; UDP, abstract unix sockets. */
#include "netns.h"
#include <stddef.h>
#include <sys/un.h>

static int client[2], peer[2], server[2], abstract[2];

static void says(int from, int to, const char *text)
{
	char buf[32] = "";

	check(write(from, text, strlen(text)) == (ssize_t)strlen(text), "%s", strerror(errno));
	check(recv(to, buf, strlen(text), MSG_WAITALL) == (ssize_t)strlen(text) && !strcmp(buf, text), "%s", buf);
}

static void child(int arg)
{
	char c;

	wait_restored();
	for (int i = 0; i < 2; i++)
		check(read(client[i], &c, 1) == 1 && c == 'w' && write(client[i], "c", 1) == 1, "of what waited: %s", strerror(errno));
}

static struct sockaddr_un name = {AF_UNIX, "\0of the namespace"};
static const socklen_t name_size = offsetof(struct sockaddr_un, sun_path) + 17;

int main(void)
{
	static const char *at[] = {"10.77.0.1", "fd77::1"};
	int udp[2], new, one = 1;
	char c;
	addr a;

	fill("ip link set lo up; ip addr add 10.77.0.1/24 dev lo; ip addr add fd77::1/64 dev lo; ip link property add dev lo altname lo-again");
	for (int i = 0; i < 2; i++) {
		server[i] = listener(at[i], 80, 5);
		must((client[i] = dial(at[i], 80)) >= 0 && (peer[i] = accept(server[i], NULL, NULL)) >= 0);
		must(write(peer[i], "w", 1) == 1);
		udp[i] = bound(SOCK_DGRAM, ip(at[i], 53 + i), 0);
		a = ip(at[i], 53 + i);
		must(connect(udp[i], &a.sa, size_of(&a)) == 0);
		must((abstract[i] = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
	}
	must(setsockopt(udp[0], SOL_SOCKET, SO_BINDTODEVICE, "lo", 3) == 0);
	must(bind(abstract[0], (void *)&name, name_size) == 0 && listen(abstract[0], 3) == 0);
	must(set(client[0], IPPROTO_TCP, TCP_NODELAY, one) == 0);
	start_kid(child, 0);
	char *before = listed();
	save_me();

	as_before(before);
	finish_kids();
	for (int i = 0; i < 2; i++) {
		check(read(peer[i], &c, 1) == 1 && c == 'c');
		says(client[i], peer[i], "there");
		says(peer[i], client[i], "and back");
		says(udp[i], udp[i], "datagram");
		check((new = dial(at[i], 80)) >= 0 && accept(server[i], NULL, NULL) >= 0, "%s", strerror(errno));
	}
	check(opt(client[0], IPPROTO_TCP, TCP_NODELAY) == 1);
	check(connect(abstract[1], (void *)&name, name_size) == 0, "%s", strerror(errno));
	check((new = accept(abstract[0], NULL, NULL)) >= 0);
	says(abstract[1], new, "abstract");
	return finish();
}
