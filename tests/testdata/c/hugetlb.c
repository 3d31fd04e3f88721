/* MAP_HUGETLB mappings, private and shared with a child, with content and pages
 * that were never touched. */
#include "hugetlb.h"
#include "kids.h"

static char *private, *shared;

static void child(int arg)
{
	private[1] = 'c';
	wait_restored();
	check(private[0] == 'p' && private[1] == 'c' && shared[0] == 's');
	check(within(shared[1] == 'P'), "the parent's write is not seen");
	shared[HUGE_PAGE] = 'C';
}

int main(void)
{
	int flags = MAP_ANONYMOUS | MAP_HUGETLB | 21 << MAP_HUGE_SHIFT;

	want_huge_pages();
	private = map(HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | flags, -1);
	shared = map(2 * HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | flags, -1);
	for (int i = 0; i < HUGE_PAGE; i += PAGE)
		private[i] = i ? i / PAGE : 'p';
	shared[0] = 's';
	must(has_flag(private, "ht") && has_flag(shared, "ht"));
	start_kid(child, 0);
	save_me();
	check(has_flag(private, "ht") && has_flag(shared, "ht"));
	check(atoi(smaps(private, "KernelPageSize:")) == 2048, "%s", smaps(private, "KernelPageSize:"));
	check(private[0] == 'p' && private[1] == 0);
	for (int i = PAGE; i < HUGE_PAGE; i += PAGE)
		check(private[i] == (char)(i / PAGE), "at %d", i);
	check(shared[0] == 's' && shared[1] == 0);
	shared[1] = 'P';
	finish_kids();
	check(shared[HUGE_PAGE] == 'C', "the child's write is not seen");
	return finish();
}
