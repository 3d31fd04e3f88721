/* 65536 supplementary groups, the most there can be. */
#include "check.h"
#include <grp.h>

#define N 65536

int main(void)
{
	static gid_t groups[N], got[2 * N];

	for (int i = 0; i < N; i++)
		groups[i] = i < 50 ? 100u + 3 * i : 4000000000u + 7u * i;
	must(setgroups(N, groups) == 0);
	save_me();
	int n = getgroups(2 * N, got);
	check(n == N, "%d groups", n);
	for (int i = 0; i < N; i++)
		check(got[i] == groups[i], "group %d is %u", i, got[i]);
	return finish();
}
