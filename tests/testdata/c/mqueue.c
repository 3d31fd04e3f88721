/* POSIX message queues: limits, flags and owners, what waits in one with a name, empty ones without, which descriptors and processes share one, and a thread that waits for a message */
#include "kids.h"
#include <mqueue.h>
#include <pthread.h>
#include <sys/stat.h>

static mqd_t named, awaited;
static volatile int got;

static void *receiver(void *arg)
{
	char b[64];

	got = mq_receive(awaited, b, sizeof b, NULL) == 5 && memcmp(b, "later", 5) == 0 ? 1 : -1;
	return NULL;
}

static void child(int arg)
{
	char b[64];
	unsigned prio;

	wait_restored();
	check(mq_receive(named, b, sizeof b, &prio) == 6 && memcmp(b, "urgent", 6) == 0 && prio == 9, "%u", prio);
}

static mqd_t queue(const char *name, int flags, mode_t mode, long max, long size)
{
	struct mq_attr a = {.mq_maxmsg = max, .mq_msgsize = size};
	mqd_t q = mq_open(name, flags | O_CREAT | O_EXCL, mode, &a);

	must(q >= 0);
	return q;
}

int main(void)
{
	char name[4][64], b[64];
	struct mq_attr a;
	struct stat st;
	pthread_t thread;

	for (int i = 0; i < 4; i++)
		snprintf(name[i], sizeof name[i], "/ckpt-test-%d-%d", getpid(), i);
	named = queue(name[0], O_RDWR | O_NONBLOCK, 0600, 5, 64);
	mqd_t sends = mq_open(name[0], O_WRONLY), twin = dup(sends);
	must(sends >= 0 && twin >= 0);
	mqd_t deleted = queue(name[1], O_RDWR, 0620, 3, 17), again = mq_open(name[1], O_RDONLY | O_NONBLOCK);
	must(again >= 0 && mq_unlink(name[1]) == 0);
	awaited = queue(name[2], O_RDWR, 0600, 2, 64);
	must(mq_unlink(name[2]) == 0);
	must(fchown(deleted, 1, 2) == 0 && fchmod(deleted, 0620) == 0);
	must(mq_send(named, "first", 5, 1) == 0 && mq_send(named, "urgent", 6, 9) == 0);
	start_kid(child, 0);
	must(pthread_create(&thread, NULL, receiver, NULL) == 0);
	usleep(20000);
	save_me();

	check(fcntl(named, F_GETFL) == (O_RDWR | O_NONBLOCK) && fcntl(sends, F_GETFL) == O_WRONLY && fcntl(again, F_GETFL) == O_NONBLOCK, "%#o %#o %#o", fcntl(named, F_GETFL), fcntl(sends, F_GETFL), fcntl(again, F_GETFL));
	check(syscall(SYS_kcmp, getpid(), getpid(), 0, sends, twin) == 0 && syscall(SYS_kcmp, getpid(), getpid(), 0, named, sends) != 0);
	check(mq_getattr(named, &a) == 0 && a.mq_maxmsg == 5 && a.mq_msgsize == 64 && a.mq_curmsgs == 2, "%ld", a.mq_curmsgs);
	check(mq_getattr(deleted, &a) == 0 && a.mq_maxmsg == 3 && a.mq_msgsize == 17 && a.mq_curmsgs == 0);
	check(fstat(deleted, &st) == 0 && (st.st_mode & 0777) == 0620 && st.st_uid == 1 && st.st_gid == 2 && st.st_nlink == 0, "%o %d %d", st.st_mode, st.st_uid, st.st_gid);
	check(mq_open(name[1], O_RDONLY) == -1 && errno == ENOENT);
	check(mq_receive(again, b, sizeof b, NULL) == -1 && errno == EAGAIN);
	check(mq_send(deleted, "x", 1, 0) == 0 && mq_receive(again, b, sizeof b, NULL) == 1);
	finish_kids();
	check(mq_receive(named, b, sizeof b, NULL) == 5 && memcmp(b, "first", 5) == 0);
	check(mq_receive(named, b, sizeof b, NULL) == -1 && errno == EAGAIN);
	check(mq_send(twin, "more", 4, 0) == 0 && mq_receive(named, b, sizeof b, NULL) == 4);
	check(got == 0);
	check(mq_send(awaited, "later", 5, 0) == 0);
	pthread_join(thread, NULL);
	check(got == 1, "%d", got);
	check(mq_unlink(name[0]) == 0);
	return finish();
}
