/* A process under chroot. */
#include "check.h"
#include <sys/stat.h>

int main(void)
{
	struct stat st;

	must(mkdir("jail", 0755) == 0 && mkdir("jail/in", 0755) == 0);
	must(close(open("jail/in/file", O_CREAT | O_WRONLY, 0600)) == 0);
	must(chroot("jail") == 0 && chdir("/in") == 0);
	int fd = open("/in/file", O_RDWR);
	must(fd >= 0);
	printf("ready\n");
	fflush(stdout);
	while (access("/go", F_OK))
		usleep(1000);
	check(stat("/in/file", &st) == 0 && stat("file", &st) == 0);
	check(stat("/etc", &st) == -1 && errno == ENOENT, "the root is not the jail");
	char cwd[100];
	check(getcwd(cwd, sizeof cwd) && !strcmp(cwd, "/in"));
	check(write(fd, "x", 1) == 1 && stat("/in/file", &st) == 0 && st.st_size == 1);
	return finish();
}
