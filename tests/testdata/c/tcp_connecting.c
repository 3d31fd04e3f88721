/* connect(2) that is under way, by a thread that waits for it and without waiting: it
 * goes on once the other side accepts. */
#include "net.h"
#include "threads.h"

static addr to;
static volatile int result = -1;

static void connects(int s)
{
	__sync_fetch_and_add(&ready, 1);
	result = connect(s, &to.sa, size_of(&to)) == 0 ? 0 : errno;
}

static int state(int s)
{
	struct tcp_info info = {0};
	socklen_t n = sizeof info;

	getsockopt(s, IPPROTO_TCP, TCP_INFO, &info, &n);
	return info.tcpi_state;
}

int main(void)
{
	int full = listener("127.0.0.1", 0, 0), waits = socket(AF_INET, SOCK_STREAM, 0), begun = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), s, n = 0;

	to = self(full);
	/* what a full backlog drops is sent again and again */
	for (;; n++) {
		must(n < 20 && (s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)) >= 0);
		must(connect(s, &to.sa, size_of(&to)) == 0 || errno == EINPROGRESS);
		if (!(events(s, POLLOUT, 100) & POLLOUT))
			break;
	}
	close(s);
	must(connect(begun, &to.sa, size_of(&to)) == -1 && errno == EINPROGRESS);
	start_thread(connects, waits);
	while (state(waits) != TCP_SYN_SENT)
		usleep(1000);
	must(state(begun) == TCP_SYN_SENT);
	for (int fd = 3; fd < 50; fd++) /* what filled the backlog is of this tree */
		if (fd != full && fd != waits && fd != begun)
			close(fd);
	save_me();

	for (n = 0; n < 2; n++)
		check((s = accept(full, NULL, NULL)) >= 0 && write(s, "x", 1) == 1);
	check(events(begun, POLLOUT, 20000) & POLLOUT && opt(begun, SOL_SOCKET, SO_ERROR) == 0 && peer_port(begun) == port_of(&to));
	finish_threads();
	check(result == 0 && peer_port(waits) == port_of(&to), "%s", strerror(result));
	check(!(fcntl(waits, F_GETFL) & O_NONBLOCK) && fcntl(begun, F_GETFL) & O_NONBLOCK);
	check(events(begun, POLLIN, 5000) && read(begun, &n, 1) == 1 && read(waits, &n, 1) == 1);
	return finish();
}
