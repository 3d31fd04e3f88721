/* Private mappings of a file in huge pages: pages of the file, pages of its own, also with a child, and pages that nobody has. */
#include "hugetlb.h"
#include "kids.h"
#include <sys/mman.h>

static char *private, *file;

static void child(int arg)
{
	private[1] = 'c';
	wait_restored();
	check(private[0] == 'p' && private[1] == 'c' && private[HUGE_PAGE] == 'f' && private[2 * HUGE_PAGE] == 0);
}

int main(void)
{
	int fd = memfd_create("huge", MFD_HUGETLB | 21 << MAP_HUGE_SHIFT);

	want_huge_pages();
	must(fd >= 0 && ftruncate(fd, 3 * HUGE_PAGE) == 0);
	file = map(3 * HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	private = map(3 * HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
	file[0] = 'F';
	file[HUGE_PAGE] = 'f';
	for (int i = 0; i < HUGE_PAGE; i += PAGE)
		private[i] = i ? i / PAGE : 'p';
	must(private[HUGE_PAGE] == 'f' && has_flag(private, "ht"));
	start_kid(child, 0);
	save_me();
	check(has_flag(private, "ht") && atoi(smaps(private, "KernelPageSize:")) == 2048, "%s", smaps(private, "KernelPageSize:"));
	check(private[0] == 'p' && private[1] == 0 && file[0] == 'F' && file[PAGE] == 0);
	for (int i = PAGE; i < HUGE_PAGE; i += PAGE)
		check(private[i] == (char)(i / PAGE), "at %d", i);
	file[HUGE_PAGE + 1] = 'n';
	check(private[HUGE_PAGE] == 'f' && private[HUGE_PAGE + 1] == 'n', "the page is a copy");
	check(private[2 * HUGE_PAGE] == 0);
	private[2 * HUGE_PAGE] = 'o';
	check(file[2 * HUGE_PAGE] == 0, "the file is written");
	finish_kids();
	return finish();
}
