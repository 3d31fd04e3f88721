/* A program that keeps looking at what a collector changes for a moment: with the
 * argument "tight", memory at the low end of its stack, because its limits leave no
 * room for more; with "peek", where the next look into its sockets begins; with "room",
 * the size of the buffer of a TCP connection that is full. It has one thread, so nothing
 * looks before that is put right. */
#include "c/check.h"
#include "c/proc.h"
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define SOCKETS 6
static int sock[SOCKETS];
static const int offsets[SOCKETS] = {-1, 0, 7, -1, 0, 2000};

static char *stack_low(void)
{
	static char line[500];
	unsigned long low = 0;
	FILE *f = fopen("/proc/self/maps", "r");

	must(f);
	while (fgets(line, sizeof line, f))
		if (strstr(line, "[stack]"))
			sscanf(line, "%lx", &low);
	fclose(f);
	must(low);
	return (char *)low;
}

static void fill(int i)
{
	static char part[3000];
	int s[2], on = 1;

	must(socketpair(AF_UNIX, i % 2 ? SOCK_SEQPACKET : SOCK_DGRAM, 0, s) == 0);
	if (i == 4) {
		must(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
		must(setsockopt(s[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0);
	}
	for (int k = 0; k < 20; k++)
		must(write(s[1], part, 100 * (k + 1)) == 100 * (k + 1));
	must(setsockopt(s[0], SOL_SOCKET, SO_PEEK_OFF, &offsets[i], sizeof offsets[i]) == 0);
	sock[i] = s[0];
}

static int ends[2], listening, size, locked;

static int option(int name)
{
	int v = -1;
	socklen_t n = sizeof v;

	return getsockopt(ends[1], SOL_SOCKET, name, &v, &n) == 0 ? v : -1;
}

/* connection makes one whose sender waits for room. */
static void connection(void)
{
	static char part[1 << 16];
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof a;

	if (!listening) {
		must((listening = socket(AF_INET, SOCK_STREAM, 0)) >= 0 && bind(listening, (void *)&a, sizeof a) == 0 && listen(listening, 5) == 0);
	} else {
		close(ends[0]);
		close(ends[1]);
	}
	must(getsockname(listening, (void *)&a, &n) == 0 && (ends[0] = socket(AF_INET, SOCK_STREAM, 0)) >= 0);
	must(connect(ends[0], (void *)&a, sizeof a) == 0 && (ends[1] = accept(listening, NULL, NULL)) >= 0);
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	while (write(ends[0], part, sizeof part) > 0)
		;
	must(errno == EAGAIN);
	size = option(SO_RCVBUF);
	locked = option(72); /* SO_BUF_LOCK */
}

/* untouched checks its buffer; when a collector had it filled, the next one begins. */
static void untouched(void)
{
	int n;

	check(option(SO_RCVBUF) == size && option(72) == locked, "a buffer of %d bytes, and not %d", option(SO_RCVBUF), size);
	if (ioctl(ends[1], FIONREAD, &n) == 0 && n > 1 << 20)
		connection();
}

int main(int argc, char **argv)
{
	int tight = argc > 1 && SAME(argv[1], "tight"), room = argc > 1 && SAME(argv[1], "room");
	char *low = stack_low();
	struct rlimit size;

	for (int i = 0; !tight && !room && i < SOCKETS; i++)
		fill(i);
	if (room)
		connection();
	size.rlim_cur = size.rlim_max = strtoul(status("VmSize"), NULL, 10) * 1024;
	must(!tight || setrlimit(RLIMIT_AS, &size) == 0);
	printf("ready\n");
	fflush(stdout);
	while (access("go", F_OK)) {
		if (room)
			untouched();
		for (int i = 0; !tight && !room && i < SOCKETS; i++) {
			int now;
			socklen_t n = sizeof now;
			check(getsockopt(sock[i], SOL_SOCKET, SO_PEEK_OFF, &now, &n) == 0 && now == offsets[i], "socket %d: %d", i, now);
		}
		for (int i = 0; tight && i < 4 * PAGE; i++)
			check(low[i] == 0, "%#x at %d", low[i], i);
		if (failures)
			break;
	}
	return finish();
}
