/* A program that keeps looking at what a collector changes for a moment: with the
 * argument "tight", memory at the low end of its stack, because its limits leave no
 * room for more; with "peek", where the next look into its sockets begins. It has one
 * thread, so nothing looks before that is put right. */
#include "c/check.h"
#include "c/proc.h"
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

int main(int argc, char **argv)
{
	int tight = argc > 1 && SAME(argv[1], "tight");
	char *low = stack_low();
	struct rlimit size;

	for (int i = 0; !tight && i < SOCKETS; i++)
		fill(i);
	size.rlim_cur = size.rlim_max = strtoul(status("VmSize"), NULL, 10) * 1024;
	must(!tight || setrlimit(RLIMIT_AS, &size) == 0);
	printf("ready\n");
	fflush(stdout);
	while (access("go", F_OK)) {
		for (int i = 0; !tight && i < SOCKETS; i++) {
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
