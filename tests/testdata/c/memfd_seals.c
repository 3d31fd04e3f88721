/* The seals of memfds, and what they refuse. */
#include "proc.h"

static int sealed(const char *name, int seals)
{
	int fd = memfd_create(name, MFD_ALLOW_SEALING);

	must(fd >= 0 && ftruncate(fd, 2 * PAGE) == 0 && pwrite(fd, name, strlen(name), 0) == (int)strlen(name));
	must(fcntl(fd, F_ADD_SEALS, seals) == 0 && fcntl(fd, F_GET_SEALS) == seals);
	return fd;
}

static void verify(int fd, const char *name, int seals)
{
	char buf[64] = "";

	check(fcntl(fd, F_GET_SEALS) == seals, "%s: %#x", name, fcntl(fd, F_GET_SEALS));
	check(pread(fd, buf, sizeof buf, 0) == sizeof buf && SAME(buf, name), "%s: %s", name, buf);
	check(pwrite(fd, name, 1, 0) == (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) ? -1 : 1), "%s", name);
	check(ftruncate(fd, 3 * PAGE) == (seals & F_SEAL_GROW ? -1 : 0), "%s", name);
	check(ftruncate(fd, PAGE) == (seals & F_SEAL_SHRINK ? -1 : 0), "%s", name);
	void *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	check((p == MAP_FAILED) == !!(seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)), "%s", name);
	check(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == (seals & F_SEAL_SEAL ? -1 : 0), "%s", name);
}

int main(void)
{
	enum { ALL = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE, LAST = ALL | F_SEAL_SEAL };
	int none = sealed("none", 0), all = sealed("all", ALL), last = sealed("last", LAST), shrink = sealed("shrink", F_SEAL_SHRINK);
	int grow = sealed("grow", F_SEAL_GROW | F_SEAL_SEAL), future = sealed("future", 0);
	char *writable = map(2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, future), *readable = map(2 * PAGE, PROT_READ, MAP_SHARED, all), c;

	must(fcntl(future, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) == 0);
	save_me();
	check(!memcmp(readable, "all", 4) && mprotect(readable, PAGE, PROT_READ | PROT_WRITE) == -1);
	writable[PAGE] = 'w';
	check(pread(future, &c, 1, PAGE) == 1 && c == 'w', "the mapping made before the seal is another file");
	verify(none, "none", 0);
	verify(all, "all", ALL);
	verify(last, "last", LAST);
	verify(shrink, "shrink", F_SEAL_SHRINK);
	verify(grow, "grow", F_SEAL_GROW | F_SEAL_SEAL);
	verify(future, "future", F_SEAL_FUTURE_WRITE);
	return finish();
}
