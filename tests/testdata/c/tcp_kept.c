/* Connections to programs outside that go on: idle, with bytes in both queues, more than the
 * other side has room for, the other side's bytes while nobody is there, either side or both
 * ended, over IPv4, IPv6 and mapped addresses, one in a child, too; nothing is lost or
 * doubled, and addresses and options are as before. */
#include "net.h"
#include "epoll.h"

#define BULK 1000000

enum { ECHO = 1, SENDS, READS, ENDED, ANSWERS, ENDED_READS };

static char byte_at(long i) { return i * 7 + i / 251; }

/* take reads to the end and returns how many bytes there were; negative: wrong ones. */
static long take(int s)
{
	char buf[5000];
	long n = 0, k;

	while ((k = read(s, buf, sizeof buf)) > 0)
		for (long i = 0; i < k; i++, n++)
			if (buf[i] != byte_at(n))
				return -1 - n;
	return k < 0 ? -1 - n : n;
}

static void until_go(void)
{
	while (access("go", F_OK))
		usleep(1000);
}

static void tell(int arg, long n)
{
	char name[20];
	FILE *f;

	snprintf(name, sizeof name, "peer%d.new", arg);
	if ((f = fopen(name, "w")) && fprintf(f, "%ld", n) > 0 && fclose(f) == 0)
		rename(name, arg == ENDED ? "peer-ended" : "peer-ended-reads");
}

static void talks(int s, int arg)
{
	char buf[5000];
	long n;

	if (arg == ECHO)
		while ((n = read(s, buf, sizeof buf)) > 0 && write(s, buf, n) == n)
			;
	for (long i = 0; arg == SENDS && i < BULK; i += n) {
		for (n = 0; n < 4000 && i + n < BULK; n++)
			buf[n] = byte_at(i + n);
		if (write(s, buf, n) != n)
			break;
		usleep(500);
	}
	if (arg == READS) {
		until_go();
		n = take(s);
		write(s, &n, sizeof n);
	}
	if ((arg == ENDED || arg == ENDED_READS) && write(s, "last words", 10) == 10 && shutdown(s, SHUT_WR) == 0) {
		until_go();
		tell(arg, take(s));
	}
	if (arg == ANSWERS) {
		n = take(s);
		until_go();
		write(s, &n, sizeof n);
	}
	shutdown(s, SHUT_WR);
	take(s);
}

static int from_outside(int listening, int arg)
{
	int s;

	outside(talks, listening, arg);
	must((s = accept(listening, NULL, NULL)) >= 0);
	return s;
}

/* fill writes as much as fits, and more than the other side takes. */
static long fill(int s)
{
	char buf[1000];
	long n = 0, k = 0;

	do {
		n += k;
		for (int i = 0; i < (int)sizeof buf; i++)
			buf[i] = byte_at(n + i);
	} while ((k = send(s, buf, sizeof buf, MSG_DONTWAIT)) > 0);
	must(errno == EAGAIN && n > BULK / 10);
	return n;
}

static void echoes(int s, const char *text)
{
	char buf[100] = {0};

	check(write(s, text, strlen(text)) == (ssize_t)strlen(text));
	check(recv(s, buf, strlen(text), MSG_WAITALL) == (ssize_t)strlen(text) && strcmp(buf, text) == 0, "%s: %s", buf, strerror(errno));
}

static long told(const char *name)
{
	long n = -4711;
	FILE *f;

	for (int i = 0; i < 60000 && !(f = fopen(name, "r")); i++)
		usleep(1000);
	if (f && fscanf(f, "%ld", &n) == 1)
		fclose(f);
	return n;
}

/* agreed is what the two sides told each other when they connected. */
static unsigned agreed(int s)
{
	struct tcp_info info;
	socklen_t n = sizeof info;

	must(getsockopt(s, IPPROTO_TCP, TCP_INFO, &info, &n) == 0);
	return (info.tcpi_options & 3) << 8 | info.tcpi_snd_wscale << 4 | info.tcpi_rcv_wscale;
}

int main(void)
{
	int on = listener("127.0.0.1", 0, 9), six = listener("::1", 0, 9), four = listener("::ffff:127.0.0.1", 0, 9), ep = epoll_create1(0), pipes[2], status;
	int idle = from_outside(on, ECHO), waits = from_outside(on, ECHO), in6 = from_outside(six, ECHO), mapped = from_outside(four, ECHO), child = from_outside(on, ECHO);
	int bulk = from_outside(on, SENDS), stuck = from_outside(on, READS), ended = from_outside(on, ENDED), half = from_outside(on, ANSWERS);
	int both = from_outside(on, ENDED_READS), fin = from_outside(on, READS);
	long n, n_stuck, n_both, n_fin;
	addr to = self(on), before, after, peer = {0}, now = {0};
	socklen_t size = sizeof peer;
	char buf[100] = {0};
	pid_t pid;

	must(set(idle, IPPROTO_TCP, TCP_NODELAY, 1) == 0 && set(idle, IPPROTO_TCP, TCP_KEEPIDLE, 99) == 0 && set(idle, SOL_SOCKET, SO_KEEPALIVE, 1) == 0);
	must(set(waits, SOL_SOCKET, SO_REUSEADDR, 0) == 0 && fcntl(idle, F_SETFL, O_NONBLOCK) == 0 && fcntl(idle, F_SETFL, 0) == 0);
	must(write(waits, "unread", 6) == 6 && events(waits, POLLIN, 5000));
	must(events(ended, POLLRDHUP, 5000) && events(both, POLLRDHUP, 5000) && events(bulk, POLLIN, 5000));
	must(write(ended, "\x00\x07", 2) == 2 && write(half, "\x00\x07", 2) == 2 && shutdown(half, SHUT_WR) == 0);
	n_stuck = fill(stuck), n_both = fill(both), n_fin = fill(fin);
	must(shutdown(both, SHUT_WR) == 0 && shutdown(fin, SHUT_WR) == 0);
	must(watch(ep, waits, EPOLLIN, 7) == 0 && watch(ep, idle, EPOLLIN | EPOLLET, 8) == 0);
	must(pipe(pipes) == 0 && (pid = fork()) >= 0);
	if (pid == 0) {
		close(pipes[1]);
		if (read(pipes[0], buf, 1) == 1)
			echoes(child, "from the child");
		_exit(failures != 0);
	}
	before = self(waits);
	must(getpeername(waits, &peer.sa, &size) == 0);
	unsigned were[] = {agreed(idle), agreed(in6), agreed(mapped)};
	save_me();

	after = self(waits);
	check(same_addr(before, after) && getpeername(waits, &now.sa, &size) == 0 && same_addr(peer, now));
	check(agreed(idle) == were[0] && agreed(in6) == were[1] && agreed(mapped) == were[2]);
	check(opt(idle, IPPROTO_TCP, TCP_NODELAY) == 1 && opt(idle, IPPROTO_TCP, TCP_KEEPIDLE) == 99 && opt(idle, SOL_SOCKET, SO_KEEPALIVE) == 1);
	check(opt(idle, SOL_SOCKET, SO_REUSEADDR) == 1 && opt(waits, SOL_SOCKET, SO_REUSEADDR) == 0);
	check(opt(idle, SOL_SOCKET, SO_ERROR) == 0 && opt(idle, IPPROTO_TCP, TCP_REPAIR) == 0);
	check(event(ep, 7, NULL) & EPOLLIN);
	check(recv(waits, buf, 6, MSG_WAITALL) == 6 && memcmp(buf, "unread", 6) == 0 && recv(waits, buf, 6, MSG_DONTWAIT) == -1 && errno == EAGAIN);
	echoes(waits, "goes on");
	echoes(idle, "idle");
	echoes(in6, "six");
	echoes(mapped, "mapped");
	check(write(pipes[1], "x", 1) == 1 && waitpid(pid, &status, 0) == pid && status == 0);
	echoes(child, "and its parent");
	n = take(bulk);
	check(n == BULK, "%ld", n);
	check(shutdown(stuck, SHUT_WR) == 0 && recv(stuck, &n, sizeof n, MSG_WAITALL) == sizeof n && n == n_stuck, "%ld of %ld: %s", n, n_stuck, strerror(errno));
	check(recv(fin, &n, sizeof n, MSG_WAITALL) == sizeof n && n == n_fin, "%ld of %ld: %s", n, n_fin, strerror(errno));
	check(recv(half, &n, sizeof n, MSG_WAITALL) == sizeof n && n == 2, "%ld: %s", n, strerror(errno));
	check(send(half, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE);
	check(recv(ended, buf, 99, MSG_WAITALL) == 10 && memcmp(buf, "last words", 10) == 0 && read(ended, buf, 1) == 0);
	check(write(ended, "\x0e", 1) == 1 && close(ended) == 0 && (n = told("peer-ended")) == 3, "%ld", n);
	check(recv(both, buf, 99, MSG_WAITALL) == 10 && read(both, buf, 1) == 0 && (n = told("peer-ended-reads")) == n_both, "%ld of %ld", n, n_both);
	serves(on, "127.0.0.1", port_of(&to));
	return finish();
}
