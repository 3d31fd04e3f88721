/* Mounts over mounts, on one place and side by side, with binds of parts and of what was
 * deleted. */
#include "mounts.h"

int main(void)
{
	char *before;

	own_mounts();
	here("t", "size=1m");
	must(mkdir("t/d", 0755) == 0 && mkdir("t/d/e", 0700) == 0 && mkdir("part", 0755) == 0 && mkdir("gone", 0755) == 0);
	put("t/d/e/f", "in a part");
	put("t/x", "deleted");
	put("file", "");
	must(mount("t/d/e", "part", NULL, MS_BIND, NULL) == 0);
	must(mount("t/x", "file", NULL, MS_BIND, NULL) == 0 && unlink("t/x") == 0);
	must(mkdir("t/g", 0755) == 0 && mount("t/g", "gone", NULL, MS_BIND, NULL) == 0 && rmdir("t/g") == 0);
	must(mkdir("a", 0755) == 0 && mkdir("a/b", 0755) == 0);
	must(mount("low", "a/b", "tmpfs", 0, NULL) == 0);
	put("a/b/f", "covered");
	must(mount("high", "a", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME, NULL) == 0);
	for (int i = 0; i < 3; i++) {
		char text[2] = {'0' + i, 0};

		must(mount(text, "t/d", "tmpfs", 0, "size=64k") == 0);
		put("t/d/n", text);
	}
	before = table();
	save_me();
	same_table(before);
	check(holds("part/f", "in a part") && holds("file", "deleted") && access("t/x", F_OK) < 0);
	for (int i = 2; i >= 0; i--) {
		char text[2] = {'0' + i, 0};

		check(holds("t/d/n", text) && umount("t/d") == 0, "%d", i);
	}
	check(holds("t/d/e/f", "in a part") && umount("a") == 0 && holds("a/b/f", "covered"));
	put("part/f", "written");
	check(holds("t/d/e/f", "written"));
	return finish();
}
