/* A child is in control groups of its own, of both versions; the parent is not.
 * The groups are there before and after. */
#include "kids.h"
#include "proc.h"
#include <sys/stat.h>

static const char *hierarchies[] = {"freezer", "pids", "cpu", "unified"};
static char group[4][64];

static void child(int arg)
{
	char name[400], word[64];

	for (int i = 0; i < 4; i++) {
		snprintf(name, sizeof name, "%s/cgroup.procs", group[i]);
		must(spit(name, "0") == 0);
	}
	char *before = slurp("/proc/self/cgroup");
	wait_restored();
	char *now = slurp("/proc/self/cgroup");
	check(SAME(before, now), "it was in\n%sand is in\n%s", before, now);
	for (int i = 0; i < 4; i++) {
		snprintf(name, sizeof name, "%s/cgroup.procs", group[i]);
		snprintf(word, sizeof word, "%d\n", getpid());
		check(SAME(slurp(name), word), "%s has %s", group[i], slurp(name));
	}
}

int main(void)
{
	for (int i = 0; i < 4; i++) {
		snprintf(group[i], sizeof group[i], "/sys/fs/cgroup/%s/ckpt-test-%d", hierarchies[i], getpid());
		must(mkdir(group[i], 0755) == 0);
	}
	start_kid(child, 0);
	char *before = slurp("/proc/self/cgroup");
	save_me();
	check(SAME(before, slurp("/proc/self/cgroup")), "%s", slurp("/proc/self/cgroup"));
	finish_kids();
	for (int i = 0; i < 4; i++)
		check(within(rmdir(group[i]) == 0));
	return finish();
}
