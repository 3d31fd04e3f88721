/* A unix socket that listens, and a FIFO, by their names on a tmpfs of its own. */
#include "mounts.h"
#include <sys/socket.h>
#include <sys/un.h>

int main(void)
{
	struct sockaddr_un a = {AF_UNIX, "t/sock"};
	int s = socket(AF_UNIX, SOCK_STREAM, 0), c, in, fifo;
	char buf[16] = "";

	own_mounts();
	here("t", "");
	must(bind(s, (void *)&a, sizeof a) == 0 && chmod("t/sock", 0600) == 0 && listen(s, 5) == 0);
	must(mkfifo("t/fifo", 0600) == 0 && (fifo = open("t/fifo", O_RDWR)) >= 0 && write(fifo, "waits", 5) == 5);
	save_me();
	c = socket(AF_UNIX, SOCK_STREAM, 0);
	check(connect(c, (void *)&a, sizeof a) == 0, "%s", strerror(errno));
	check((in = accept(s, NULL, NULL)) >= 0 && write(c, "hi", 2) == 2 && read(in, buf, 16) == 2);
	check(read(fifo, buf, 16) == 5 && memcmp(buf, "waits", 5) == 0);
	int other = open("t/fifo", O_WRONLY | O_NONBLOCK);
	check(other >= 0 && write(other, "x", 1) == 1 && read(fifo, buf, 16) == 1);
	return finish();
}
