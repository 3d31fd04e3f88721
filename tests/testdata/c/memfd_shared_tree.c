/* Parent and two children map the same memfd, which only one child has
 * open: each sees the others' writes. */
#include "kids.h"
#include "proc.h"

static char *p;
static int fd;

static void child(int i)
{
	char buf[3];

	if (i == 1)
		close(fd);
	p[i] = 'a' + i;
	wait_restored();
	check(!memcmp(p, "abc", 2) && p[PAGE] == 'm');
	check(within(p[2 * PAGE] == 'P'), "the parent's write is not seen");
	p[2 * PAGE + 1 + i] = 'A' + i;
	check(within(p[2 * PAGE + 2 - i] == 'B' - i), "the sibling's write is not seen");
	if (i == 0)
		check(pread(fd, buf, 3, 2 * PAGE) == 3 && !memcmp(buf, "PAB", 3), "the descriptor is another file");
}

int main(void)
{
	must((fd = memfd_create("tree", 0)) >= 0 && ftruncate(fd, 4 * PAGE) == 0);
	p = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	p[PAGE] = 'm';
	start_kid(child, 0);
	start_kid(child, 1);
	close(fd);
	/* the same file once more, from its third page on */
	char *again = mremap(p + 2 * PAGE, 0, 2 * PAGE, MREMAP_MAYMOVE);
	must(again != MAP_FAILED);
	save_me();
	check(!memcmp(p, "ab", 2) && p[PAGE] == 'm' && p[2 * PAGE] == 0);
	again[0] = 'P';
	finish_kids();
	check(!memcmp(p + 2 * PAGE, "PAB", 3) && !memcmp(again, "PAB", 3), "%.3s, %.3s", p + 2 * PAGE, again);
	return finish();
}
