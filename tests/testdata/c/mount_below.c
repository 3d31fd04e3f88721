/* Files and working folders that are open on mounts over which others are mounted. */
#include "mounts.h"

int main(void)
{
	char buf[16] = "", *before;
	int below, stacked, dir;

	own_mounts();
	here("t", "");
	must(mkdir("t/d", 0755) == 0);
	put("t/d/f", "below");
	must((below = open("t/d/f", O_RDWR)) >= 0 && (dir = open("t/d", O_RDONLY | O_DIRECTORY)) >= 0);
	must(mount("over", "t/d", "tmpfs", 0, NULL) == 0);
	put("t/d/f", "over");
	here("s", "");
	put("s/f", "stacked");
	must((stacked = open("s/f", O_RDONLY)) >= 0);
	must(mount("top", "s", "tmpfs", 0, NULL) == 0);
	put("s/f", "top");
	before = table();
	save_me();
	same_table(before);
	check(pread(below, buf, 16, 0) == 5 && memcmp(buf, "below", 5) == 0, "%s", buf);
	check(holds("t/d/f", "over") && holds("s/f", "top"));
	check(pread(stacked, buf, 16, 0) == 7 && memcmp(buf, "stacked", 7) == 0, "%s", buf);
	int again = openat(dir, "f", O_RDONLY);
	check(again >= 0 && pread(again, buf, 16, 0) == 5 && memcmp(buf, "below", 5) == 0);
	check(umount("t/d") == 0 && holds("t/d/f", "below"));
	return finish();
}
