/* A server on port argv[1] that sends back all it gets on one connection. It ends with 0
 * when the other side does, and with 3 if the connection is reset. With argv[2] that is its
 * child, and it has the connection, too. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(argc > 1 ? atoi(argv[1]) : 0)};
	int on = socket(AF_INET, SOCK_STREAM, 0), one = 1, s;
	char buf[10000];
	ssize_t n, m, k;

	if (setsockopt(on, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) || bind(on, (struct sockaddr *)&at, sizeof at) || listen(on, 5))
		return 1;
	if ((s = accept(on, NULL, NULL)) < 0)
		return 2;
	if (argc > 2 && fork())
		pause();
	while ((n = read(s, buf, sizeof buf)) > 0)
		for (m = 0; m < n; m += k)
			if ((k = send(s, buf + m, n - m, MSG_NOSIGNAL)) < 0)
				return 3;
	return n == 0 ? 0 : 3;
}
