/* Devices without a state. */
#include "check.h"

int main(void)
{
	const char *names[] = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"};
	int fd[5];
	char buf[16];

	for (int i = 0; i < 5; i++)
		must((fd[i] = open(names[i], O_RDWR | (i == 4 ? O_CLOEXEC : 0))) >= 0);
	save_me();
	check(read(fd[0], buf, 16) == 0 && write(fd[0], buf, 16) == 16);
	buf[3] = 1;
	check(read(fd[1], buf, 16) == 16 && buf[3] == 0);
	check(write(fd[2], buf, 16) == -1 && errno == ENOSPC);
	check(read(fd[3], buf, 16) == 16);
	check(read(fd[4], buf, 16) == 16 && fcntl(fd[4], F_GETFD) == FD_CLOEXEC);
	return finish();
}
