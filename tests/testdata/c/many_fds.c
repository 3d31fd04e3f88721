/* A thousand descriptors of five open files: which share a position, and which
 * are closed by exec. */
#include "check.h"
#include <sys/resource.h>

enum { FIRST = 10, N = 1000, FILES = 5 };

static int closes(int fd) { return fd % 7 == 0; }

int main(void)
{
	const char *names[FILES] = {"a", "a", "b", "c", "b"};
	int modes[FILES] = {O_RDWR, O_RDONLY, O_RDWR | O_APPEND, O_RDWR, O_WRONLY};
	struct rlimit lim;

	must(getrlimit(RLIMIT_NOFILE, &lim) == 0);
	lim.rlim_cur = lim.rlim_max;
	must(setrlimit(RLIMIT_NOFILE, &lim) == 0);
	for (int i = 0; i < FILES; i++) {
		int fd = open(names[i], modes[i] | O_CREAT, 0600);
		must(fd >= 0 && fd < FIRST && lseek(fd, 100 * i, SEEK_SET) == 100 * i);
		for (int k = i; k < N; k += FILES)
			must(dup3(fd, FIRST + k, closes(FIRST + k) ? O_CLOEXEC : 0) == FIRST + k);
	}
	for (int fd = 3; fd < FIRST; fd++)
		close(fd);
	save_me();
	for (int k = 0; k < N; k++) {
		int fd = FIRST + k, i = k % FILES;
		check(fcntl(fd, F_GETFD) == (closes(fd) ? FD_CLOEXEC : 0), "descriptor %d", fd);
		check((fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND)) == modes[i], "descriptor %d has %#x", fd, fcntl(fd, F_GETFL));
		check(lseek(fd, 1, SEEK_CUR) == 100 * i + 1 + k / FILES, "descriptor %d has a position of its own", fd);
	}
	check(fcntl(FIRST + N, F_GETFD) == -1 && fcntl(FIRST - 1, F_GETFD) == -1, "there are more descriptors");
	return finish();
}
