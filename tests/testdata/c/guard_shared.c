/* Guard pages (MADV_GUARD_INSTALL) in shared mappings, of memory and of a file, and
 * in a private one of a file: they fault, and the memory behind them is kept. */
#include "kids.h"
#include "proc.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif
#define N 4

static char *area[3];

static void guarded(int at)
{
	for (int k = 0; k < 3; k++)
		for (int i = 0; i < N; i++)
			check(faults(area[k] + i * PAGE) == (i == at), "mapping %d, page %d", k, i);
}

static void child(int at)
{
	for (int k = 0; k < 3; k++)
		must(madvise(area[k], N * PAGE, MADV_GUARD_REMOVE) == 0 && madvise(area[k] + at * PAGE, PAGE, MADV_GUARD_INSTALL) == 0);
	wait_restored();
	guarded(at);
}

int main(void)
{
	int fd = open("file", O_RDWR | O_CREAT, 0600);

	must(fd >= 0 && ftruncate(fd, N * PAGE) == 0);
	area[0] = mmap(NULL, N * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	area[1] = mmap(NULL, N * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	area[2] = mmap(NULL, N * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	for (int k = 0; k < 3; k++) {
		must(area[k] != MAP_FAILED);
		for (int i = 0; i < N; i++)
			area[k][i * PAGE] = 'a' + i;
		if (madvise(area[k] + PAGE, PAGE, MADV_GUARD_INSTALL) != 0) {
			must(errno == EINVAL && k == 0); /* before Linux 6.15 */
			area[1] = area[2] = area[0] = anon(N * PAGE);
			must(madvise(area[0] + PAGE, PAGE, MADV_GUARD_INSTALL) == 0);
			break;
		}
	}
	start_kid(child, 2);
	save_me();
	guarded(1);
	finish_kids();
	for (int k = 0; k < 2; k++)
		if (area[1] != area[0]) {
			check(madvise(area[k], N * PAGE, MADV_GUARD_REMOVE) == 0);
			check(area[k][PAGE] == 'b', "mapping %d has %d", k, area[k][PAGE]);
		}
	return finish();
}
