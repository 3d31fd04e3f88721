/* POSIX message queues of an IPC namespace in which messages wait, with their priorities and in their order:
 * a full one that nobody has open, one that is open, empty messages, the longest, and many. */
#include "kids.h"
#include <mqueue.h>
#include <sys/wait.h>

static mqd_t queue(const char *name, long max, long size)
{
	struct mq_attr a = {.mq_maxmsg = max, .mq_msgsize = size};
	mqd_t q = mq_open(name, O_RDWR | O_NONBLOCK | O_CREAT | O_EXCL, 0600, &a);

	must(q >= 0);
	return q;
}

static void next(mqd_t q, unsigned want, const char *text, size_t n)
{
	static char b[8192];
	unsigned prio = 0;
	ssize_t got = mq_receive(q, b, sizeof b, &prio);

	check(got == (ssize_t)n && !memcmp(b, text, n) && prio == want, "%zd bytes with %u: %s", got, prio, strerror(errno));
}

static void child(int arg)
{
	wait_restored();
	mqd_t q = mq_open("/open", O_RDONLY);
	next(q, 32767, "top", 3);
}

int main(void)
{
	static char longest[8192];
	char name[32];
	mqd_t q, open;

	must(getpid() == 1);
	FILE *f = fopen("/proc/sys/fs/mqueue/msg_max", "w");
	must(f && fputs("300", f) >= 0 && fclose(f) == 0);
	memset(longest, 'l', sizeof longest);
	q = queue("/full", 4, 8192);
	must(mq_send(q, "a", 1, 5) == 0 && mq_send(q, longest, sizeof longest, 1) == 0 && mq_send(q, "b", 1, 5) == 0 && mq_send(q, "c", 1, 0) == 0);
	must(mq_send(q, "d", 1, 0) == -1 && errno == EAGAIN && mq_close(q) == 0);
	open = queue("/open", 10, 8192);
	must(mq_send(open, "", 0, 3) == 0 && mq_send(open, "top", 3, 32767) == 0 && mq_send(open, "x", 1, 3) == 0 && mq_send(open, "", 0, 0) == 0);
	q = queue("/many", 300, 100);
	for (int i = 0; i < 250; i++)
		must(mq_send(q, longest, 1 + i % 100, i % 7) == 0);
	must(mq_close(q) == 0);
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof name, "/q%d", i);
		q = queue(name, 1, 10);
		must(mq_send(q, name, strlen(name), i) == 0 && mq_close(q) == 0);
	}
	start_kid(child, 0);
	save_me();

	finish_kids();
	next(open, 3, "", 0), next(open, 3, "x", 1), next(open, 0, "", 0);
	check(mq_receive(open, longest, sizeof longest, NULL) == -1 && errno == EAGAIN);
	q = mq_open("/full", O_RDWR | O_NONBLOCK);
	check(mq_send(q, "d", 1, 0) == -1 && errno == EAGAIN);
	next(q, 5, "a", 1), next(q, 5, "b", 1), next(q, 1, longest, sizeof longest), next(q, 0, "c", 1);
	q = mq_open("/many", O_RDWR | O_NONBLOCK);
	for (int prio = 6; prio >= 0; prio--)
		for (int i = prio; i < 250; i += 7)
			next(q, prio, longest, 1 + i % 100);
	check(mq_receive(q, longest, sizeof longest, NULL) == -1 && errno == EAGAIN);
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof name, "/q%d", i);
		q = mq_open(name, O_RDWR | O_NONBLOCK);
		next(q, i, name, strlen(name));
	}
	return finish();
}
