/* A thread with a descriptor table of its own, and one with a working folder and
 * umask of its own. */
#include "threads.h"
#include <sys/stat.h>

static int fd;
static char home[4096];

static void table(int i)
{
	must(syscall(SYS_unshare, CLONE_FILES) == 0 && close(fd) == 0 && dup2(0, 50) == 50);
	wait_restored();
	check(fcntl(fd, F_GETFD) == -1 && errno == EBADF);
	check(fcntl(50, F_GETFD) == 0);
}

static void folder(int i)
{
	char cwd[4096];

	must(syscall(SYS_unshare, CLONE_FS) == 0 && chdir("/usr") == 0);
	umask(0123);
	wait_restored();
	check(getcwd(cwd, sizeof cwd) && !strcmp(cwd, "/usr"), "%s", cwd);
	check(umask(0) == 0123);
}

static void plain(int i)
{
	char cwd[4096];

	wait_restored();
	check(fcntl(fd, F_GETFD) == 0 && fcntl(50, F_GETFD) == -1);
	check(getcwd(cwd, sizeof cwd) && !strcmp(cwd, home), "%s", cwd);
}

int main(void)
{
	umask(022);
	must((fd = open("/dev/null", O_RDONLY)) >= 0 && getcwd(home, sizeof home));
	start_thread(table, 0);
	start_thread(folder, 0);
	start_thread(plain, 0);
	save_me();
	finish_threads();
	check(fcntl(fd, F_GETFD) == 0 && fcntl(50, F_GETFD) == -1);
	check(umask(0) == 022);
	return finish();
}
