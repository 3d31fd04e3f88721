/* Pages of 2 MiB of their own kind. */
#ifndef HUGETLB_H
#define HUGETLB_H
#include "proc.h"

#define HUGE_PAGE (2 << 20)

/* want_huge_pages has the kernel set some aside. */
static inline void want_huge_pages(void)
{
	char *line = strstr(slurp("/proc/meminfo"), "HugePages_Free:");

	must(line);
	if (atoi(line + 15) < 8)
		must(spit("/proc/sys/vm/nr_hugepages", "16") == 0);
}
#endif
