/* An unprivileged program that has one thing open by its path, or swaps one */
#include "check.h"
#include <grp.h>
#include <sys/syscall.h>

static void nobody(void)
{
	must(setgroups(0, NULL) == 0);
	must(setresgid(65534, 65534, 65534) == 0);
	must(setresuid(65534, 65534, 65534) == 0);
}

/* paths swap A B ...: for ever, as fast as it goes */
static void swap(char **names)
{
	for (;;)
		for (int i = 0; names[i]; i += 2)
			must(syscall(SYS_renameat2, AT_FDCWD, names[i], AT_FDCWD, names[i + 1], 2) == 0);
}

/* paths KIND PATH: has it open as descriptor 3, by root's leave if KIND is root */
int main(int argc, char **argv)
{
	const char *kind = argv[1];
	int fd;

	if (!strcmp(kind, "swap")) {
		nobody();
		swap(argv + 2);
	}
	must(argc == 3);
	if (strcmp(kind, "root"))
		nobody();
	if (!strcmp(kind, "folder")) {
		must((fd = open(argv[2], O_RDONLY | O_DIRECTORY)) == 3);
		must(fchdir(fd) == 0);
	} else {
		must((fd = open(argv[2], O_RDWR)) == 3);
	}
	if (!strcmp(kind, "root"))
		nobody();
	printf("ready\n");
	fflush(stdout);
	for (;;)
		pause();
}
