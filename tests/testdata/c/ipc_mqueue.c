/* POSIX message queues of an IPC namespace: those that nobody has open, too, with their attributes, owners
 * and modes, and which are not those of the host. */
#include "kids.h"
#include <mqueue.h>
#include <sys/stat.h>

static char longest[257] = "/";

static void child(int arg)
{
	wait_restored();
	mqd_t q = mq_open("/closed", O_WRONLY);
	check(q >= 0 && mq_send(q, "hello", 5, 3) == 0, "%s", strerror(errno));
}

int main(void)
{
	struct mq_attr a = {.mq_maxmsg = 5, .mq_msgsize = 64};
	struct stat st;
	char b[64];
	unsigned prio;
	mqd_t q, open;

	must(getpid() == 1);
	memset(longest + 1, 'n', 255);
	must((q = mq_open("/closed", O_RDWR | O_CREAT | O_EXCL, 0600, &a)) >= 0 && fchown(q, 12, 34) == 0 && fchmod(q, 0642) == 0 && mq_close(q) == 0);
	a.mq_maxmsg = 1, a.mq_msgsize = 1;
	must((q = mq_open(longest, O_RDWR | O_CREAT | O_EXCL, 0, &a)) >= 0 && mq_close(q) == 0);
	a.mq_maxmsg = 10, a.mq_msgsize = 8192;
	must((open = mq_open("/open", O_RDWR | O_NONBLOCK | O_CREAT | O_EXCL, 0600, &a)) >= 0);
	start_kid(child, 0);
	save_me();

	check(fcntl(open, F_GETFL) == (O_RDWR | O_NONBLOCK) && mq_receive(open, (char[8192]){0}, 8192, NULL) == -1 && errno == EAGAIN);
	check((q = mq_open("/open", O_WRONLY)) >= 0 && mq_send(q, "x", 1, 0) == 0 && mq_receive(open, (char[8192]){0}, 8192, NULL) == 1);
	finish_kids();
	check((q = mq_open("/closed", O_RDONLY)) >= 0 && mq_getattr(q, &a) == 0 && a.mq_maxmsg == 5 && a.mq_msgsize == 64 && a.mq_curmsgs == 1, "%s", strerror(errno));
	check(fstat(q, &st) == 0 && st.st_uid == 12 && st.st_gid == 34 && (st.st_mode & 0777) == 0642, "%o", st.st_mode);
	check(mq_receive(q, b, sizeof b, &prio) == 5 && !memcmp(b, "hello", 5) && prio == 3);
	check((q = mq_open(longest, O_RDONLY)) >= 0 && mq_getattr(q, &a) == 0 && a.mq_maxmsg == 1 && a.mq_msgsize == 1);
	check(fstat(q, &st) == 0 && (st.st_mode & 0777) == 0);
	check(mq_unlink(longest) == 0 && mq_unlink("/closed") == 0 && mq_unlink("/open") == 0);
	return finish();
}
