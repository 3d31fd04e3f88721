/* A child is blocked in writing to a full pipe that the parent then reads. */
#include "kids.h"
#include <sys/ioctl.h>

#define TOTAL 300000

static int p[2];
static char byte(int i) { return i * 7 + i / 251; }

static void child(int arg)
{
	char *buf = malloc(TOTAL);
	int n = 0, k;

	for (int i = 0; i < TOTAL; i++)
		buf[i] = byte(i);
	close(p[0]);
	me->ready = 1;
	while (n < TOTAL && ((k = write(p[1], buf + n, TOTAL - n)) > 0 || (k == -1 && errno == EINTR)))
		n += k > 0 ? k : 0;
	check(n == TOTAL, "%d bytes written: %s", n, strerror(errno));
}

int main(void)
{
	static char buf[TOTAL + 1];
	int n = 0, k, waiting = 0;

	must(pipe(p) == 0);
	start_kid(child, 0);
	close(p[1]);
	must(within(ioctl(p[0], FIONREAD, &waiting) == 0 && waiting == fcntl(p[0], F_GETPIPE_SZ)));
	usleep(20000);
	save_me();
	check(ioctl(p[0], FIONREAD, &waiting) == 0 && waiting == fcntl(p[0], F_GETPIPE_SZ), "%d bytes wait", waiting);
	while ((k = read(p[0], buf + n, sizeof buf - n)) > 0)
		n += k;
	check(k == 0 && n == TOTAL, "%d bytes", n);
	for (int i = 0; i < n; i++)
		if (buf[i] != byte(i)) {
			check(0, "byte %d differs", i);
			break;
		}
	finish_kids();
	return finish();
}
