/* Descriptors in flight (SCM_RIGHTS) in streams, datagrams and packets: files that share their position with one that is open, the only end of a pipe, an eventfd, two with one message, a socket in its own queue, sockets of TCP, UDP and netlink that nobody has otherwise, what is open by O_PATH, a message queue, an epoll, a timerfd and a locked file that are open, too, a pipe that an epoll watches, and sockets in flight that have something waiting in them */
#include "unix.h"
#include <arpa/inet.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/timerfd.h>
#include <signal.h>
#include <sys/mman.h>

static void pass(int to, const char *what, const int *fds, int n)
{
	char control[CMSG_SPACE(sizeof(int) * 8)] = {0};
	struct iovec iov = {(char *)what, strlen(what)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(n * sizeof(int))};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	must(sendmsg(to, &m, 0) == (ssize_t)strlen(what));
}

/* take receives up to len bytes and returns the number of descriptors with them. */
static int take(int from, const char *want, int len, int *fds)
{
	char control[CMSG_SPACE(sizeof(int) * 8)], b[64];
	struct iovec iov = {b, len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	int n = recvmsg(from, &m, MSG_DONTWAIT), got = 0;

	check(n == (int)strlen(want) && !memcmp(b, want, n), "%d bytes (%.*s), want %s: %s", n, n < 0 ? 0 : n, b, want, strerror(errno));
	if (n < 0)
		return 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
			got = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
			memcpy(fds, CMSG_DATA(c), got * sizeof(int));
		}
	return got;
}

int main(void)
{
	int stream[2], dgram[2], packets[2], self[2], inner[2], outer[2], pipes[2], fds[8];
	char b[64];
	uint64_t v;

	must(socketpair(AF_UNIX, SOCK_STREAM, 0, stream) == 0 && socketpair(AF_UNIX, SOCK_DGRAM, 0, dgram) == 0);
	must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packets) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, self) == 0);
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, inner) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, outer) == 0);
	must(pipe(pipes) == 0);

	int file = open("file", O_RDWR | O_CREAT, 0600);
	must(write(file, "0123456789", 10) == 10 && lseek(file, 3, SEEK_SET) == 3);
	int event = eventfd(5, 0), mem = memfd_create("mem", 0);
	must(write(mem, "in memory", 9) == 9);

	pass(stream[0], "two", (int[]){file, pipes[0]}, 2);
	pass(stream[0], "one more", (int[]){file}, 1);
	must(write(stream[0], "after", 5) == 5);
	must(write(pipes[1], "piped", 5) == 5);
	close(pipes[0]);

	must(send(dgram[0], "none", 4, 0) == 4);
	pass(dgram[0], "event", &event, 1);
	close(event);
	pass(packets[0], "mem", &mem, 1);
	must(send(packets[0], "none", 4, 0) == 4);
	close(mem);

	pass(self[0], "self", &self[1], 1);

	must(write(inner[0], "to the left", 11) == 11);
	pass(inner[1], "and more", (int[]){file}, 1);
	pass(outer[0], "both", inner, 2);
	close(inner[0]);
	close(inner[1]);

	/* of other kinds */
	struct sockaddr_in at[2] = {{.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof at[0];
	int others[2], listener = socket(AF_INET, SOCK_STREAM, 0), udp = socket(AF_INET, SOCK_DGRAM, 0), netlink = socket(AF_NETLINK, SOCK_RAW, 0);
	at[1] = at[0];
	must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, others) == 0 && listener >= 0 && udp >= 0 && netlink >= 0);
	must(bind(listener, (void *)&at[0], len) == 0 && listen(listener, 5) == 0 && getsockname(listener, (void *)&at[0], &len) == 0);
	must(bind(udp, (void *)&at[1], len) == 0 && getsockname(udp, (void *)&at[1], &len) == 0);
	snprintf(b, sizeof b, "/ckpt-rights-%d", getpid());
	struct mq_attr small = {.mq_maxmsg = 2, .mq_msgsize = 8};
	int path = open("file", O_PATH), queue = mq_open(b, O_CREAT | O_RDWR, 0600, &small);
	must(path >= 0 && queue >= 0 && mq_send(queue, "m", 1, 0) == 0);
	pass(others[0], "others", (int[]){listener, udp, netlink, path, queue}, 5);
	close(listener), close(udp), close(netlink), close(path), close(queue);

	/* open, too */
	int locked = open("locked", O_CREAT | O_RDWR, 0600), epoll = epoll_create1(0), timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	struct epoll_event in = {.events = EPOLLIN, .data.u64 = 77}, got;
	must(locked >= 0 && flock(locked, LOCK_EX) == 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, others[1], &in) == 0 && timer >= 0);
	/* watched, and open nowhere else */
	int watched[2], far[2];
	in.data.u64 = 78;
	must(socketpair(AF_UNIX, SOCK_STREAM, 0, far) == 0 && pipe(watched) == 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, watched[0], &in) == 0);
	pass(far[0], "watched", &watched[0], 1);
	close(watched[0]);
	pass(others[0], "too", (int[]){locked, epoll, timer}, 3);
	save_me();

	check(take(stream[1], "two", 60, fds) == 2);
	check(lseek(fds[0], 0, SEEK_CUR) == 3 && lseek(file, 5, SEEK_SET) == 5 && lseek(fds[0], 0, SEEK_CUR) == 5, "it is another description");
	check(read(fds[1], b, 64) == 5 && !memcmp(b, "piped", 5));
	check(write(pipes[1], "on", 2) == 2 && read(fds[1], b, 64) == 2);
	close(fds[1]);
	signal(SIGPIPE, SIG_IGN);
	check(write(pipes[1], "on", 2) == -1 && errno == EPIPE, "somebody else has the end");
	check(take(stream[1], "one more", 60, fds) == 1);
	check(lseek(fds[0], 0, SEEK_CUR) == 5);
	check(take(stream[1], "after", 60, fds) == 0);

	check(take(dgram[1], "none", 60, fds) == 0);
	check(take(dgram[1], "event", 60, fds) == 1);
	check(read(fds[0], &v, 8) == 8 && v == 5);
	check(take(packets[1], "mem", 60, fds) == 1);
	check(pread(fds[0], b, 64, 0) == 9 && !memcmp(b, "in memory", 9));
	check(take(packets[1], "none", 60, fds) == 0);

	check(take(self[1], "self", 60, fds) == 1);
	check(write(self[0], "x", 1) == 1 && read(fds[0], b, 64) == 1);

	check(take(outer[1], "both", 60, fds) == 2);
	int left = fds[0], right = fds[1];
	check(take(right, "to the left", 60, fds) == 0);
	check(take(left, "and more", 60, fds) == 1 && lseek(fds[0], 0, SEEK_CUR) == 5);
	check(write(left, "y", 1) == 1 && read(right, b, 64) == 1 && *b == 'y');

	check(take(others[1], "others", 60, fds) == 5);
	int client = socket(AF_INET, SOCK_STREAM, 0);
	check(connect(client, (void *)&at[0], len) == 0 && accept(fds[0], NULL, NULL) >= 0, "%s", strerror(errno));
	check(sendto(fds[1], "u", 1, 0, (void *)&at[1], len) == 1 && recv(fds[1], b, 64, MSG_DONTWAIT) == 1, "%s", strerror(errno));
	int domain = 0;
	len = sizeof domain;
	check(getsockopt(fds[2], SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_NETLINK);
	check((fcntl(fds[3], F_GETFL) & O_PATH) && faccessat(fds[3], "", F_OK, AT_EMPTY_PATH) == 0);
	check(mq_receive(fds[4], b, 64, NULL) == 1 && *b == 'm', "%s", strerror(errno));
	snprintf(b, sizeof b, "/ckpt-rights-%d", getpid());
	check(mq_unlink(b) == 0);
	check(epoll_wait(epoll, &got, 1, 0) == 1 && got.data.u64 == 77);
	check(take(far[1], "watched", 60, fds) == 1 && write(watched[1], "w", 1) == 1);
	int reader = fds[0];
	struct epoll_event two[2];
	check(epoll_wait(epoll, two, 2, 0) == 2 && two[0].data.u64 + two[1].data.u64 == 77 + 78, "what was in flight is not watched");
	check(read(reader, b, 64) == 1);
	check(take(others[1], "too", 60, fds) == 3);
	check(epoll_wait(fds[1], &got, 1, 0) == 0 && write(others[0], "z", 1) == 1 && epoll_wait(fds[1], &got, 1, 0) == 1 && got.data.u64 == 77, "it is another epoll");
	struct itimerspec soon = {.it_value.tv_nsec = 1};
	check(timerfd_settime(timer, 0, &soon, NULL) == 0 && usleep(1000) == 0 && read(fds[2], &v, 8) == 8, "it is another timerfd");
	check(flock(fds[0], LOCK_UN) == 0 && flock(open("locked", O_RDWR), LOCK_EX | LOCK_NB) == 0, "it is another description");
	return finish();
}
