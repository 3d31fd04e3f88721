/* The first thread has ended, and those that go on are in a mount namespace of their own, in a
 * root by chroot that is a tmpfs's folder, with a proc and an mqueue that were mounted anew. */
#include "first_ended.h"
#include "mounts.h"

static void body(void)
{
	char ids[64], buf[64], *before;

	snprintf(ids, sizeof ids, "%d", getpid());
	before = table();
	must(chroot("t/jail") == 0);
	save_me();
	check(holds("/f", "inside") && holds("t/f", "outside"));
	check(readlink("p/self", buf, sizeof buf) == (ssize_t)strlen(ids) && !memcmp(buf, ids, strlen(ids)), "%.3s", buf);
	check(access("m", X_OK) == 0);
	check(access("/proc", F_OK) == -1);
	for (int i = 0; i < 64; i++)
		must(chdir("..") == 0);
	must(chroot(".") == 0);
	same_table(before);
}

int main(void)
{
	own_mounts();
	here("t", "");
	must(mkdir("t/jail", 0755) == 0 && mkdir("p", 0755) == 0 && mkdir("m", 0755) == 0);
	must(mount("proc", "p", "proc", 0, NULL) == 0 && mount("mqueue", "m", "mqueue", 0, NULL) == 0);
	put("t/jail/f", "inside");
	put("t/f", "outside");
	end_first(body, 7);
	return 1;
}
