/* A memfd, open and mapped in parent and child: name, size, content, and the
 * position they share. */
#include "kids.h"
#include "proc.h"
#include <sys/stat.h>

static char *p;
static int fd;

static void child(int arg)
{
	char buf[4];

	wait_restored();
	check(p[0] == 'm' && p[2 * PAGE] == 'e');
	check(within(p[1] == 'P'), "the parent's write is not seen");
	check(pread(fd, buf, 2, 0) == 2 && !memcmp(buf, "mP", 2), "the descriptor is another file");
	check(lseek(fd, 0, SEEK_CUR) == PAGE + 3);
	check(write(fd, "CD", 2) == 2);
}

int main(void)
{
	char name[64] = "", buf[4];
	struct stat st;

	must((fd = memfd_create("a memfd", MFD_CLOEXEC)) == 3 && ftruncate(fd, 3 * PAGE + 5) == 0 && fchmod(fd, 0640) == 0);
	p = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	p[0] = 'm';
	p[2 * PAGE] = 'e';
	must(lseek(fd, PAGE + 3, SEEK_SET) == PAGE + 3);
	start_kid(child, 0);
	save_me();
	check(readlink("/proc/self/fd/3", name, sizeof name - 1) > 0 && SAME(name, "/memfd:a memfd (deleted)"), "%s", name);
	check(fcntl(fd, F_GETFD) == FD_CLOEXEC && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR);
	check(fstat(fd, &st) == 0 && st.st_size == 3 * PAGE + 5 && (st.st_mode & 07777) == 0640, "size %ld, mode %o", st.st_size, st.st_mode);
	check(fcntl(fd, F_GET_SEALS) == F_SEAL_SEAL, "%#x", fcntl(fd, F_GET_SEALS));
	check(p[0] == 'm' && p[2 * PAGE] == 'e' && p[PAGE] == 0);
	p[1] = 'P';
	finish_kids();
	check(lseek(fd, 0, SEEK_CUR) == PAGE + 5, "%ld", lseek(fd, 0, SEEK_CUR));
	check(p[PAGE + 3] == 'C' && pread(fd, buf, 2, PAGE + 3) == 2 && !memcmp(buf, "CD", 2), "the child's write is not seen");
	return finish();
}
