/* A file mapped shared by parent and child: each sees the other's writes, and
 * they are in the file. */
#include "kids.h"
#include "proc.h"

static char *p;

static void child(int arg)
{
	p[1] = 'c';
	wait_restored();
	check(p[0] == 'p' && p[1] == 'c');
	check(within(p[PAGE] == 'P'), "the parent's write is not seen");
	p[2 * PAGE] = 'C';
}

int main(void)
{
	int fd = open("file", O_RDWR | O_CREAT, 0600);
	char buf[2];

	must(ftruncate(fd, 4 * PAGE) == 0);
	p = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	must(close(fd) == 0);
	p[0] = 'p';
	start_kid(child, 0);
	save_me();
	check(p[0] == 'p' && p[1] == 'c' && p[PAGE] == 0);
	p[PAGE] = 'P';
	finish_kids();
	check(p[2 * PAGE] == 'C', "the child's write is not seen");
	fd = open("file", O_RDWR);
	check(pread(fd, buf, 2, 0) == 2 && !memcmp(buf, "pc", 2));
	check(pread(fd, buf, 1, PAGE) == 1 && *buf == 'P' && pread(fd, buf, 1, 2 * PAGE) == 1 && *buf == 'C');
	check(pwrite(fd, "w", 1, 3 * PAGE) == 1 && p[3 * PAGE] == 'w');
	return finish();
}
