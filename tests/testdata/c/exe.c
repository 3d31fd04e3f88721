/* Its own executable is deleted while it runs. */
#include "check.h"

int main(int argc, char **argv)
{
	char now[4096] = "";

	must(unlink(argv[0]) == 0);
	save_me();
	check(readlink("/proc/self/exe", now, sizeof now) > 0 && strstr(now, " (deleted)"), "%s", now);
	int fd = open("/proc/self/exe", O_RDONLY);
	char magic[4];
	check(fd >= 0 && read(fd, magic, 4) == 4 && !memcmp(magic, "\177ELF", 4));
	return finish();
}
