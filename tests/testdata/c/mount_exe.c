/* Its executable and a file that it has mapped lie in a tmpfs of its own, modified long ago. */
#include "mounts.h"
#include <sys/mman.h>
#include <sys/sendfile.h>

static const struct timespec old[2] = {{1000000000, 0}, {1000000000, 123456789}};

static void copy(const char *from, const char *to)
{
	int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_EXCL, 0755);
	struct stat st;

	must(in >= 0 && out >= 0 && fstat(in, &st) == 0);
	must(sendfile(out, in, NULL, st.st_size) == st.st_size && close(out) == 0 && close(in) == 0);
	must(utimensat(AT_FDCWD, to, old, 0) == 0);
}

static int is_old(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && st.st_mtim.tv_sec == old[1].tv_sec && st.st_mtim.tv_nsec == old[1].tv_nsec;
}

int main(int argc, char **argv)
{
	struct stat st, exe;
	char *mapped;
	int fd;

	if (argc == 1) {
		own_mounts();
		here("t", "");
		copy(argv[0], "t/exe");
		copy(argv[0], "t/map");
		execl("t/exe", "t/exe", "again", NULL);
		must(!"exec");
	}
	must((fd = open("t/map", O_RDONLY)) >= 0);
	mapped = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
	must(mapped != MAP_FAILED && close(fd) == 0);
	save_me();
	check(is_old("t/exe") && is_old("t/map"));
	check(stat("t/exe", &st) == 0 && stat("/proc/self/exe", &exe) == 0 && st.st_ino == exe.st_ino && st.st_dev == exe.st_dev);
	check(memcmp(mapped, "\177ELF", 4) == 0);
	return finish();
}
