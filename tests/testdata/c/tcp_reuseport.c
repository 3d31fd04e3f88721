/* Groups of listeners on one port (SO_REUSEPORT), over two processes, and of datagram
 * sockets. */
#include "kids.h"
#include "net.h"

static int port, uport, mine, umine;

static int member(int type, int p)
{
	int s = bound(type, ip("127.0.0.1", p), SO_REUSEPORT);

	must(type == SOCK_DGRAM || listen(s, 50) == 0);
	return s;
}

static int taken(int s)
{
	int n = 0, c;

	fcntl(s, F_SETFL, O_NONBLOCK);
	for (; (c = accept(s, NULL, NULL)) >= 0; n++)
		close(c);
	return n;
}

static int *counted;

static void child(int arg)
{
	int s = member(SOCK_STREAM, port), u = member(SOCK_DGRAM, uport);

	wait_restored();
	counted[0] = taken(s);
	check(opt(s, SOL_SOCKET, SO_REUSEPORT) == 1 && opt(u, SOL_SOCKET, SO_REUSEPORT) == 1);
}

int main(void)
{
	addr a;
	int other, n = 0;

	counted = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	mine = member(SOCK_STREAM, 0);
	a = self(mine);
	other = member(SOCK_STREAM, port = port_of(&a));
	umine = member(SOCK_DGRAM, 0);
	a = self(umine);
	uport = port_of(&a);
	start_kid(child, 0);
	save_me();

	for (int i = 0; i < 60; i++)
		n += dial("127.0.0.1", port) >= 0;
	check(n == 60, "%d of 60 connected", n);
	int a1 = taken(mine), a2 = taken(other);
	finish_kids();
	check(a1 + a2 + counted[0] == 60 && a1 && a2 && counted[0], "%d %d %d", a1, a2, counted[0]);
	check(opt(mine, SOL_SOCKET, SO_REUSEPORT) == 1 && opt(umine, SOL_SOCKET, SO_REUSEPORT) == 1);
	a = ip("127.0.0.1", port);
	check(bind(socket(AF_INET, SOCK_STREAM, 0), &a.sa, size_of(&a)) == -1 && errno == EADDRINUSE);
	return finish();
}
