/* Children in other working directories, one of them under another root. */
#include "kids.h"
#include "proc.h"
#include <sys/stat.h>

static const char *dirs[] = {"a", "a/b c", "/", "/proc", "jail"};

static void child(int i)
{
	struct stat root, dir, now;
	char before[4096], after[4096];

	if (i == 4)
		must(chroot(dirs[i]) == 0 && chdir("/inner") == 0);
	else
		must(chdir(dirs[i]) == 0);
	must(stat("/", &root) == 0 && stat(".", &dir) == 0 && getcwd(before, sizeof before));
	wait_restored();
	check(getcwd(after, sizeof after) && SAME(before, after), "%s, now %s", before, after);
	check(stat("/", &now) == 0 && now.st_ino == root.st_ino && now.st_dev == root.st_dev, "the root differs");
	check(stat(".", &now) == 0 && now.st_ino == dir.st_ino && now.st_dev == dir.st_dev, "the directory differs");
	if (i == 4)
		check(SAME(slurp("/inner/file"), "inside") && SAME(slurp("file"), "inside") && SAME(slurp("/../../inner/file"), "inside"));
}

int main(void)
{
	must(mkdir("a", 0755) == 0 && mkdir("a/b c", 0755) == 0 && mkdir("jail", 0755) == 0 && mkdir("jail/inner", 0755) == 0);
	must(close(open("jail/inner/file", O_CREAT | O_WRONLY, 0644)) == 0 && spit("jail/inner/file", "inside") == 0);
	for (int i = 0; i < 5; i++)
		start_kid(child, i);
	save_me();
	check(access("jail/inner/file", F_OK) == 0);
	finish_kids();
	return finish();
}
