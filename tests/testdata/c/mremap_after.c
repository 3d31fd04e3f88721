/* Restored mappings can be grown, moved and shrunk. */
#include "proc.h"

#define N 16

static int holds(char *p, int from, int to)
{
	for (int i = from; i < to; i++)
		if (p[i * PAGE] != 'a' + i || p[i * PAGE + PAGE - 1] != 'a' + i)
			return 0;
	return 1;
}

int main(void)
{
	int fd = open("file", O_RDWR | O_CREAT, 0600);

	must(ftruncate(fd, 2 * N * PAGE) == 0);
	char *p[3] = {anon(N * PAGE), map(N * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1), map(N * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd)};
	for (int k = 0; k < 3; k++)
		for (int i = 0; i < N; i++)
			memset(p[k] + i * PAGE, 'a' + i, PAGE);
	must(pwrite(fd, "more", 4, N * PAGE) == 4);
	save_me();
	for (int k = 0; k < 3; k++) {
		char *grown = mremap(p[k], N * PAGE, 2 * N * PAGE, MREMAP_MAYMOVE);
		check(grown != MAP_FAILED, "mapping %d: %s", k, strerror(errno));
		check(grown != MAP_FAILED && holds(grown, 0, N), "mapping %d", k);
		if (k == 0)
			check(grown[N * PAGE] == 0 && (grown[2 * N * PAGE - 1] = 'x') == 'x');
		if (k == 2)
			check(!memcmp(grown + N * PAGE, "more", 4));
		char *place = map(2 * N * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
		char *moved = mremap(grown, 2 * N * PAGE, 2 * N * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place);
		check(moved == place && holds(moved, 0, N) && faults(grown), "mapping %d: %s", k, strerror(errno));
		check(mremap(moved, 2 * N * PAGE, 4 * PAGE, 0) == moved && holds(moved, 0, 4) && faults(moved + 4 * PAGE), "mapping %d", k);
	}
	return finish();
}
