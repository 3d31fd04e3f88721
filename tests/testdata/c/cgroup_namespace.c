/* A cgroup namespace whose root is a group of its own, for an init in a group below and a child in that of
 * the root, in a hierarchy of version 1 and that of version 2. */
#include "kids.h"
#include <sys/stat.h>
#include <time.h>

static const char *top[] = {"/sys/fs/cgroup/freezer", "/sys/fs/cgroup/unified"};
static const char *line[] = {":freezer:", "0::"};
static char before[2][4096], group[2][256], below[2][300];

static void put(const char *dir)
{
	char path[400];

	snprintf(path, sizeof path, "%s/cgroup.procs", dir);
	FILE *f = fopen(path, "w");
	must(f && fputs("0", f) >= 0 && fclose(f) == 0);
}

static void in(const char *wanted[2], int other)
{
	char text[4096] = "", path[64];

	snprintf(path, sizeof path, "/proc/self/cgroup");
	FILE *f = fopen(path, "r");
	check(f && fread(text, 1, sizeof text - 1, f) > 0);
	if (f)
		fclose(f);
	check(other || !strcmp(text, before[0]), "%s", text);
	for (int i = 0; i < 2; i++) {
		char want[100], *at = strstr(text, line[i]);

		snprintf(want, sizeof want, "%s%s\n", line[i], wanted[i]);
		check(at && !strncmp(at, want, strlen(want)), "%s", text);
	}
}

static void child(int arg)
{
	for (int i = 0; i < 2; i++)
		put(group[i]);
	wait_restored();
	in((const char *[]){"/", "/"}, 1);
}

int main(void)
{
	must(getpid() == 1);
	for (int i = 0; i < 2; i++) {
		snprintf(group[i], sizeof group[i], "%s/ckpt-test-%ld", top[i], (long)time(NULL) * 1000 + clock() % 1000);
		snprintf(below[i], sizeof below[i], "%s/below", group[i]);
		must(mkdir(group[i], 0755) == 0 && mkdir(below[i], 0755) == 0);
		put(group[i]);
	}
	must(unshare(CLONE_NEWCGROUP) == 0);
	for (int i = 0; i < 2; i++)
		put(below[i]);
	FILE *f = fopen("/proc/self/cgroup", "r");
	must(f && fread(before[0], 1, sizeof before[0] - 1, f) > 0 && fclose(f) == 0);
	start_kid(child, 0);
	save_me();
	in((const char *[]){"/below", "/below"}, 0);
	finish_kids();
	for (int i = 0; i < 2; i++) {
		put(top[i]);
		rmdir(below[i]), rmdir(group[i]);
	}
	return finish();
}
