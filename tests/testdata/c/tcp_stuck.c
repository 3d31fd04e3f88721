/* TCP connections of which the tree has both ends, whose receivers have no room: what
 * the senders could not send yet, also with the end of the stream behind it; and senders
 * that wait for room. */
#include "kids.h"
#include "net.h"
#include <pthread.h>

#define MUCH (8 << 20)
/* More than both buffers can have before and after a restore. */
#define TOO_MUCH (8L * MUCH)

static char *bulk;
static int a[3], b[3];
static long sent[3];
static volatile long written = -1;

static void *writes(void *arg)
{
	long n = 0, k;

	while (n < TOO_MUCH && (k = write(a[2], bulk + n % MUCH, MUCH - n % MUCH)) > 0)
		n += k;
	written = n;
	return NULL;
}

/* receives checks that n bytes come. */
static void receives(int s, long n)
{
	char *buf = malloc(n + 1);
	long got = recv(s, buf, n, MSG_WAITALL);

	check(got == n && memcmp(buf, bulk, n) == 0, "%ld of %ld bytes", got, n);
	free(buf);
}

static void child(int arg)
{
	char c;

	wait_restored();
	receives(b[1], sent[1]);
	check(read(b[1], &c, 1) == 0, "no end");
}

int main(void)
{
	int on = listener("127.0.0.1", 0, 5), n, last, i;
	addr at = self(on);
	pthread_t thread;

	bulk = malloc(MUCH);
	for (i = 0; i < MUCH; i++)
		bulk[i] = i * 131 >> 5;
	for (i = 0; i < 3; i++) {
		must((a[i] = dial("127.0.0.1", port_of(&at))) >= 0 && (b[i] = accept(on, NULL, NULL)) >= 0);
		if (i < 2) {
			fcntl(a[i], F_SETFL, O_NONBLOCK);
			while ((n = write(a[i], bulk + sent[i], MUCH - sent[i])) > 0)
				sent[i] += n;
			must(errno == EAGAIN && sent[i] > 200000);
		}
	}
	must(shutdown(a[1], SHUT_WR) == 0); /* FIN_WAIT1: the end waits, too */
	must(pthread_create(&thread, NULL, writes, NULL) == 0);
	for (last = -1; ioctl(b[2], FIONREAD, &n) == 0 && (n == 0 || n != last); usleep(100000))
		last = n;
	start_kid(child, 0);
	close(b[1]);
	int size = opt(b[0], SOL_SOCKET, SO_RCVBUF), lock = opt(b[0], SOL_SOCKET, 72);
	save_me();

	check(opt(b[0], SOL_SOCKET, 72) == lock && opt(b[0], SOL_SOCKET, SO_RCVBUF) < 100 * size, "%d", opt(b[0], SOL_SOCKET, SO_RCVBUF));
	receives(b[0], sent[0]);
	check(send(a[1], "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
	finish_kids();
	for (i = 0; i < TOO_MUCH / MUCH; i++)
		receives(b[2], MUCH);
	pthread_join(thread, NULL);
	check(written == TOO_MUCH, "%ld", written);
	fcntl(a[0], F_SETFL, 0);
	check(write(b[0], "back", 4) == 4 && recv(a[0], bulk, 4, MSG_WAITALL) == 4 && write(a[0], "on", 2) == 2 && recv(b[0], bulk, 2, MSG_WAITALL) == 2);
	return finish();
}
