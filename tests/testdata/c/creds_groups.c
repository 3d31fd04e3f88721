/* A hundred supplementary groups. */
#include "check.h"
#include <grp.h>

#define N 100

int main(void)
{
	gid_t groups[N], got[2 * N] = {0};

	for (int i = 0; i < N; i++)
		groups[i] = i < 50 ? 100u + 3 * i : 4000000000u + 7 * i;
	must(setgroups(N, groups) == 0);
	save_me();
	int n = getgroups(2 * N, got);
	check(n == N, "%d groups", n);
	for (int i = 0; i < N; i++)
		check(got[i] == groups[i], "group %d is %u", i, got[i]);
	return finish();
}
