/* Parent and child share the mapping of a file that was deleted and is not open. */
#include "kids.h"
#include "proc.h"

static char *p;

static void child(int arg)
{
	p[1] = 'c';
	wait_restored();
	check(p[0] == 'd' && p[1] == 'c' && p[3 * PAGE - 1] == 'e');
	check(within(p[PAGE] == 'P'), "the parent's write is not seen");
	p[2 * PAGE] = 'C';
}

int main(void)
{
	int fd = open("file", O_RDWR | O_CREAT, 0600);

	must(ftruncate(fd, 3 * PAGE) == 0);
	p = map(3 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	p[0] = 'd';
	p[3 * PAGE - 1] = 'e';
	must(close(fd) == 0 && unlink("file") == 0);
	start_kid(child, 0);
	save_me();
	check(p[0] == 'd' && p[1] == 'c' && p[3 * PAGE - 1] == 'e' && p[PAGE] == 0);
	check(access("file", F_OK) == -1, "the file is there again");
	check(!!strstr(maps_line(p), "(deleted)"), "%s", maps_line(p));
	p[PAGE] = 'P';
	finish_kids();
	check(p[2 * PAGE] == 'C', "the child's write is not seen");
	return finish();
}
