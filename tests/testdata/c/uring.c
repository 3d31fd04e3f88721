/* io_urings that are idle: one that was never used, one used more often than it has
 * entries, one with completions that were not taken, one without an array of indexes,
 * one that a child shares, one whose thread waits in it, watched by an epoll */
#include "kids.h"
#include "uring.h"
#include "epoll.h"
#include <pthread.h>

static struct ring fresh, used, full, direct, shared, waiting;
static volatile int woken, tid;

static void *waits(void *arg)
{
	struct io_uring_cqe c;

	tid = syscall(SYS_gettid);
	woken = submit(&waiting, 0, 1) == 0 && take(&waiting, &c) && c.user_data == 99 ? 1 : -1;
	return NULL;
}

/* works reads a file by way of a ring. */
static int works(struct ring *r)
{
	struct io_uring_cqe c;
	char buf[8] = "";
	int fd = open("text", O_RDONLY);
	struct io_uring_sqe *e = prepare(r, IORING_OP_READ, 1234);

	e->fd = fd;
	e->addr = (uintptr_t)buf;
	e->len = sizeof buf;
	int ok = submit(r, 1, 1) == 1 && take(r, &c) && c.user_data == 1234 && c.res == 5 && memcmp(buf, "hello", 5) == 0;
	close(fd);
	return ok;
}

static void child(int arg)
{
	wait_restored();
	check(works(&shared));
}

int main(void)
{
	struct io_uring_cqe c;
	pthread_t thread;
	int ep, n, twin, fd = open("text", O_CREAT | O_WRONLY, 0600), has_direct;

	must(write(fd, "hello", 5) == 5 && close(fd) == 0);
	must(setup(&fresh, 4, 0) == 0 && setup(&used, 8, 0) == 0 && setup(&full, 4, 0) == 0 && setup(&shared, 16, 0) == 0 && setup(&waiting, 64, 0) == 0);
	has_direct = setup(&direct, 8, IORING_SETUP_NO_SQARRAY) == 0;
	nops(&used, 1003);
	nops(&full, 6);
	for (int i = 0; i < 4; i++)
		prepare(&full, IORING_OP_NOP, 100 + i);
	must(submit(&full, 4, 0) == 4);
	nops(&shared, 21);
	if (has_direct)
		nops(&direct, 13);
	must((twin = dup(used.fd)) >= 0);
	start_kid(child, 0);
	must((ep = epoll_create1(0)) >= 0 && watch(ep, used.fd, EPOLLIN, 5) == 0);
	must(pthread_create(&thread, NULL, waits, NULL) == 0);
	while (!tid)
		usleep(1000);
	usleep(20000);
	save_me();

	check(*FIELD(&used, sq, tail) == 1003 && *FIELD(&used, cq, head) == 1003, "%u %u", *FIELD(&used, sq, tail), *FIELD(&used, cq, head));
	check(event(ep, 5, &n) == 0);
	for (int i = 0; i < 50; i++)
		check(works(&used) && works(&fresh), "time %d", i);
	check(syscall(SYS_kcmp, getpid(), getpid(), 0, twin, used.fd) == 0);
	for (int i = 0; i < 4; i++)
		check(take(&full, &c) && c.user_data == (uint64_t)100 + i, "%d", i);
	check(!take(&full, &c) && works(&full));
	if (has_direct)
		for (int i = 0; i < 20; i++)
			check(works(&direct), "time %d", i);
	check(!woken);
	prepare(&waiting, IORING_OP_NOP, 99);
	check(submit(&waiting, 1, 0) == 1);
	pthread_join(thread, NULL);
	check(woken == 1, "%d", woken);
	prepare(&used, IORING_OP_NOP, 7);
	check(submit(&used, 1, 0) == 1 && event(ep, 5, &n) == EPOLLIN);
	finish_kids();
	return finish();
}
