/* File locks of all three kinds, as others see them, also on the program's own
 * executable; each names its owner, of which one is a child that has it through
 * its parent's descriptor. */
#include "kids.h"
#include <sys/file.h>
#include <sys/wait.h>

static int in_child(int (*f)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(f());
	waitpid(pid, &status, 0);
	return WEXITSTATUS(status);
}

static int range_locked(const char *name, int cmd, int start, int len)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = len};
	int fd = open(name, O_RDWR);

	return fcntl(fd, cmd, &l) == 0 && l.l_type != F_UNLCK;
}

static int posix_inside(void) { return range_locked("posix", F_GETLK, 12, 1); }
static int posix_outside(void) { return range_locked("posix", F_GETLK, 0, 10) || range_locked("posix", F_GETLK, 15, 1); }
static int posix_tail(void) { return range_locked("posix", F_GETLK, 1 << 20, 1); }
static int ofd_inside(void) { return range_locked("ofd", F_OFD_GETLK, 3, 1); }
static int flocked(void)
{
	int fd = open("flock", O_RDWR);

	return flock(fd, LOCK_SH | LOCK_NB) == -1 && errno == EWOULDBLOCK;
}

static int exe_locked(void)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return fcntl(open("/proc/self/exe", O_RDONLY), F_GETLK, &l) == 0 && l.l_type == F_RDLCK && l.l_pid == getppid();
}

/* owner_of returns who holds the lock that fdinfo shows. */
static int owner_of(int fd)
{
	char name[64], line[200];
	int owner = 0;

	snprintf(name, sizeof name, "/proc/self/fdinfo/%d", fd);
	FILE *info = fopen(name, "r");
	while (info && fgets(line, sizeof line, info))
		sscanf(line, "lock: %*d: %*s %*s %*s %d", &owner);
	fclose(info);
	return owner;
}

static int of_child;

static void child(int arg)
{
	must(flock(of_child, LOCK_EX) == 0);
	wait_restored();
	check(owner_of(of_child) == getpid(), "%d", owner_of(of_child));
}

int main(void)
{
	int exe = open("/proc/self/exe", O_RDONLY);
	struct flock shared = {.l_type = F_RDLCK, .l_whence = SEEK_SET};

	must((of_child = open("child", O_RDWR | O_CREAT, 0600)) >= 0 && fcntl(exe, F_SETLK, &shared) == 0);
	start_kid(child, 0);
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 5};
	int p, f, o;

	must((p = open("posix", O_RDWR | O_CREAT, 0600)) >= 0 && fcntl(p, F_SETLK, &l) == 0);
	l.l_type = F_RDLCK, l.l_start = 1000, l.l_len = 0;
	must(fcntl(p, F_SETLK, &l) == 0);
	must((f = open("flock", O_RDWR | O_CREAT, 0600)) >= 0 && flock(f, LOCK_EX) == 0);
	must((o = open("ofd", O_RDWR | O_CREAT, 0600)) >= 0);
	l.l_start = 0, l.l_len = 8;
	must(fcntl(o, F_OFD_SETLK, &l) == 0);
	save_me();
	check(in_child(posix_inside) == 1);
	check(in_child(posix_outside) == 0);
	check(in_child(posix_tail) == 1);
	check(in_child(ofd_inside) == 1);
	check(in_child(flocked) == 1);
	check(in_child(exe_locked) == 1, "the executable is not locked");
	check(owner_of(f) == getpid() && owner_of(p) == getpid() && owner_of(o) == -1, "owners %d, %d, %d", owner_of(f), owner_of(p), owner_of(o));
	check(owner_of(of_child) == kid_pid[0], "%d", owner_of(of_child));
	finish_kids();
	check(in_child(exe_locked) == 1, "the executable is not locked any more");
	flock(f, LOCK_UN);
	check(in_child(flocked) == 0, "another descriptor holds the lock");
	return finish();
}
