/* Deleted FIFOs: what waits in one, capacity, owner, mode, who has which end, one with no
 * reader, and a descriptor by O_PATH, by which it can be opened again. */
#include "kids.h"
#include <poll.h>
#include <sys/stat.h>

static int full[3], gone[2];

static void writer(int unused)
{
	close(full[0]);
	wait_restored();
	check(write(full[1], "more", 4) == 4);
	(void)unused;
}

int main(void)
{
	char buf[100];
	struct stat st, was, other;

	must(mkfifo("full", 0640) == 0 && (full[0] = open("full", O_RDONLY | O_NONBLOCK)) >= 0 && (full[1] = open("full", O_WRONLY)) >= 0);
	must((full[2] = open("full", O_PATH)) >= 0 && fchownat(full[2], "", 12, 34, AT_EMPTY_PATH) == 0);
	must(fcntl(full[1], F_SETPIPE_SZ, 8192) == 8192 && write(full[1], "some words", 10) == 10 && unlink("full") == 0 && fstat(full[0], &was) == 0);
	must(mkfifo("gone", 0600) == 0 && (gone[0] = open("gone", O_RDONLY | O_NONBLOCK)) >= 0 && (gone[1] = open("gone", O_WRONLY)) >= 0);
	must(unlink("gone") == 0 && close(gone[0]) == 0);
	start_kid(writer, 0);
	must(close(full[1]) == 0);
	save_me();
	check(fstat(full[0], &st) == 0 && S_ISFIFO(st.st_mode) && st.st_nlink == 0 && st.st_mode == was.st_mode && st.st_uid == 12 && st.st_gid == 34,
	      "%o %d", st.st_mode, st.st_uid);
	check(fstat(full[2], &other) == 0 && other.st_ino == st.st_ino && other.st_dev == st.st_dev && (fcntl(full[2], F_GETFL) & O_PATH));
	check(fcntl(full[0], F_GETPIPE_SZ) == 8192, "%d", fcntl(full[0], F_GETPIPE_SZ));
	check(read(full[0], buf, sizeof buf) == 10 && !memcmp(buf, "some words", 10));
	check(read(full[0], buf, sizeof buf) == -1 && errno == EAGAIN, "nobody has it open to write");
	finish_kids();
	check(read(full[0], buf, sizeof buf) == 4 && !memcmp(buf, "more", 4));
	check(read(full[0], buf, sizeof buf) == 0, "somebody still has it open to write");
	snprintf(buf, sizeof buf, "/proc/self/fd/%d", full[2]);
	int again = open(buf, O_WRONLY);
	check(again >= 0 && write(again, "x", 1) == 1 && read(full[0], buf, sizeof buf) == 1);
	struct pollfd p = {.fd = gone[1], .events = POLLOUT};
	check(poll(&p, 1, 0) == 1 && (p.revents & POLLERR), "%#x", p.revents);
	check(access("full", F_OK) == -1 && access("gone", F_OK) == -1);
	return finish();
}
