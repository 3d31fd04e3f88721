/* An overlay of folders on a tmpfs of its own, with a file open in it. */
#include "mounts.h"

int main(void)
{
	char *before, buf[16];
	int low, up;

	own_mounts();
	here("t", "");
	for (const char **d = (const char *[]){"t/l", "t/u", "t/w", "t/o", NULL}; *d; d++)
		must(mkdir(*d, 0755) == 0);
	put("t/l/low", "lower");
	put("t/l/gone", "");
	must(chdir("t") == 0);
	char options[PATH_MAX * 3 + 64], cwd[PATH_MAX];
	must(getcwd(cwd, sizeof cwd) != NULL);
	snprintf(options, sizeof options, "lowerdir=%s/l,upperdir=%s/u,workdir=%s/w", cwd, cwd, cwd);
	must(mount("overlay", "o", "overlay", 0, options) == 0 && chdir("..") == 0);
	put("t/o/up", "upper");
	must(unlink("t/o/gone") == 0);
	must((low = open("t/o/low", O_RDONLY)) >= 0 && (up = open("t/o/up", O_RDWR)) >= 0);
	save_me();
	check(pread(low, buf, 16, 0) == 5 && pread(up, buf, 16, 0) == 5 && access("t/o/gone", F_OK) < 0);
	check(pwrite(up, "U", 1, 0) == 1 && holds("t/u/up", "Upper") && holds("t/o/low", "lower"));
	put("t/o/low", "copied");
	check(holds("t/u/low", "copied") && holds("t/l/low", "lower"));
	before = table();
	check(strstr(before, " overlay overlay ") != NULL, "%s", before);
	return finish();
}
