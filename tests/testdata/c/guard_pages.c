/* Guard pages (MADV_GUARD_INSTALL) fault and can be taken away again; what is
 * around them is kept. */
#include "proc.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif
#define N 16

static int guarded(int i) { return i == 0 || (i >= 5 && i < 8) || i == N - 1; }

int main(void)
{
	char *p = anon(N * PAGE);

	for (int i = 0; i < N; i++)
		if (i != 10)
			memset(p + i * PAGE, 'a' + i, PAGE);
	must(madvise(p, PAGE, MADV_GUARD_INSTALL) == 0 && madvise(p + 5 * PAGE, 3 * PAGE, MADV_GUARD_INSTALL) == 0);
	must(madvise(p + (N - 1) * PAGE, PAGE, MADV_GUARD_INSTALL) == 0);
	must(faults(p + 6 * PAGE) && !faults(p + 8 * PAGE));
	save_me();
	for (int i = 0; i < N; i++) {
		check(faults(p + i * PAGE) == guarded(i), "page %d", i);
		if (!guarded(i) && !faults(p + i * PAGE))
			check(p[i * PAGE] == (i == 10 ? 0 : 'a' + i) && p[i * PAGE + PAGE - 1] == p[i * PAGE], "page %d is %d", i, p[i * PAGE]);
	}
	check(madvise(p, N * PAGE, MADV_GUARD_REMOVE) == 0);
	for (int i = 0; i < N; i++) {
		if (faults(p + i * PAGE))
			check(0, "page %d still faults", i);
		else if (guarded(i))
			check(p[i * PAGE] == 0, "page %d is %d", i, p[i * PAGE]);
	}
	return finish();
}
