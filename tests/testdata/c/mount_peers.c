/* Peer groups and slaves: what is mounted below one appears where it did before. */
#include "mounts.h"

static int there(const char *path) { return access(path, F_OK) == 0; }

int main(void)
{
	char *before;

	own_mounts();
	here("a", "");
	must(mkdir("a/x", 0755) == 0 && mkdir("a/y", 0755) == 0 && mkdir("b", 0755) == 0 && mkdir("c", 0755) == 0 && mkdir("d", 0755) == 0);
	must(mount("", "a", NULL, MS_SHARED, NULL) == 0);
	must(mount("a", "b", NULL, MS_BIND, NULL) == 0 && mount("a", "c", NULL, MS_BIND, NULL) == 0 && mount("", "c", NULL, MS_SLAVE, NULL) == 0);
	must(mount("a", "d", NULL, MS_BIND, NULL) == 0 && mount("", "d", NULL, MS_PRIVATE, NULL) == 0 && mount("", "d", NULL, MS_UNBINDABLE, NULL) == 0);
	before = table();
	save_me();
	same_table(before);
	must(mount("new", "a/x", "tmpfs", 0, NULL) == 0);
	put("a/x/f", "");
	check(there("b/x/f") && there("c/x/f") && !there("d/x/f"));
	must(mount("new", "c/y", "tmpfs", 0, NULL) == 0);
	put("c/y/f", "");
	check(!there("a/y/f") && !there("b/y/f"));
	check(mkdir("e", 0755) == 0 && mount("d", "e", NULL, MS_BIND, NULL) < 0 && errno == EINVAL);
	return finish();
}
