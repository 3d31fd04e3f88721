/* A memfd of huge pages, as a descriptor and mapped by parent and child. */
#include "hugetlb.h"
#include "kids.h"
#include <sys/stat.h>

static char *shared;
static int fd;

static void child(int arg)
{
	close(fd);
	wait_restored();
	check(shared[0] == 's');
	check(within(shared[1] == 'P'), "the parent's write is not seen");
	shared[HUGE_PAGE] = 'C';
}

int main(void)
{
	char buf[16], name[64] = "";
	struct stat st;

	want_huge_pages();
	must((fd = memfd_create("huge", MFD_HUGETLB | 21u << MAP_HUGE_SHIFT)) >= 0 && ftruncate(fd, 2 * HUGE_PAGE) == 0);
	shared = map(2 * HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	shared[0] = 's';
	shared[HUGE_PAGE - 1] = 'e';
	must(lseek(fd, HUGE_PAGE - 1, SEEK_SET) == HUGE_PAGE - 1);
	start_kid(child, 0);
	save_me();
	check(shared[0] == 's' && shared[HUGE_PAGE - 1] == 'e' && shared[HUGE_PAGE] == 0 && has_flag(shared, "ht"));
	check(fstat(fd, &st) == 0 && st.st_size == 2 * HUGE_PAGE && st.st_blksize == HUGE_PAGE, "size %ld, pages of %ld", st.st_size, st.st_blksize);
	check(readlink("/proc/self/fd/3", name, sizeof name - 1) > 0 && fd == 3 && SAME(name, "/memfd:huge (deleted)"), "%s", name);
	check(read(fd, buf, 2) == 2 && buf[0] == 'e' && buf[1] == 0);
	shared[1] = 'P';
	finish_kids();
	check(shared[HUGE_PAGE] == 'C', "the child's write is not seen");
	check(pread(fd, buf, 1, HUGE_PAGE) == 1 && buf[0] == 'C', "the descriptor is another file");
	return finish();
}
