/* Pipes and FIFOs: what waits in them, borders of packets, capacity, and ends
 * that are closed. */
#include "check.h"
#include <signal.h>
#include <sys/stat.h>

int main(void)
{
	static char big[1 << 20];
	char buf[8192];
	int plain[2], packets[2], full[2], eof[2], broken[2], r, w;

	signal(SIGPIPE, SIG_IGN);
	must(pipe(plain) == 0 && fcntl(plain[1], F_SETPIPE_SZ, 1 << 18) == 1 << 18);
	must(write(plain[1], "abc", 3) == 3 && write(plain[1], "defg", 4) == 4);
	must(pipe2(packets, O_DIRECT) == 0);
	must(write(packets[1], "one", 3) == 3 && write(packets[1], "three", 5) == 5 && write(packets[1], "x", 1) == 1);
	must(pipe2(full, O_NONBLOCK) == 0);
	int n = 0, k;
	while ((k = write(full[1], big, 1000)) > 0)
		memset(big, 'A' + n % 26, 1000), n += k;
	must(pipe(eof) == 0 && write(eof[1], "last", 4) == 4 && close(eof[1]) == 0);
	must(pipe(broken) == 0 && close(broken[0]) == 0);
	must(mkfifo("fifo", 0600) == 0 && (r = open("fifo", O_RDONLY | O_NONBLOCK)) >= 0 && (w = open("fifo", O_WRONLY)) >= 0);
	must(write(w, "through the fifo", 16) == 16);
	save_me();

	check(fcntl(plain[0], F_GETPIPE_SZ) == 1 << 18, "%d", fcntl(plain[0], F_GETPIPE_SZ));
	check(read(plain[0], buf, sizeof buf) == 7 && !memcmp(buf, "abcdefg", 7));
	check(fcntl(packets[1], F_GETFL) & O_DIRECT);
	check(read(packets[0], buf, sizeof buf) == 3 && !memcmp(buf, "one", 3));
	check(read(packets[0], buf, 2) == 2 && !memcmp(buf, "th", 2), "a short read drops the rest of a packet");
	check(read(packets[0], buf, sizeof buf) == 1 && buf[0] == 'x');
	check(fcntl(full[0], F_GETFL) & O_NONBLOCK);
	check(write(full[1], big, 4096) == -1 && errno == EAGAIN, "the full pipe has room");
	int got = 0;
	while ((k = read(full[0], buf, sizeof buf)) > 0)
		got += k;
	check(got == n, "%d of %d bytes", got, n);
	check(k == -1 && errno == EAGAIN);
	check(read(eof[0], buf, sizeof buf) == 4 && read(eof[0], buf, sizeof buf) == 0);
	check(write(broken[1], "x", 1) == -1 && errno == EPIPE);
	check(read(r, buf, sizeof buf) == 16 && !memcmp(buf, "through the fifo", 16));
	check(read(r, buf, sizeof buf) == -1 && errno == EAGAIN);
	check(write(w, "more", 4) == 4 && read(r, buf, sizeof buf) == 4);
	check(!(fcntl(w, F_GETFL) & O_NONBLOCK) && (fcntl(w, F_GETFL) & O_ACCMODE) == O_WRONLY);
	close(w);
	check(read(r, buf, sizeof buf) == 0, "the FIFO has another writer");
	close(plain[1]);
	check(read(plain[0], buf, sizeof buf) == 0, "the pipe has another writer");
	return finish();
}
