/* Open files on overlayfs, of the lower layer and copied up, one of them deleted; files of sysfs, of a control group, and on tmpfs: they can be read and written on, each at its position */
#include "check.h"
#include <sys/mount.h>
#include <sys/stat.h>

static int file(const char *name, int flags, const char *text)
{
	int fd = open(name, flags | O_CREAT, 0600);

	must(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	return fd;
}

int main(void)
{
	char b[4096], before[4096];
	struct stat st;

	must(mkdir("over", 0755) == 0 && mkdir("tmp", 0755) == 0);
	/* the layers can't be on the file system of the tests if that is an overlay itself */
	must(mount("tmpfs", "tmp", "tmpfs", 0, "") == 0 && mkdir("tmp/lower", 0755) == 0 && mkdir("tmp/upper", 0755) == 0 && mkdir("tmp/work", 0755) == 0);
	close(file("tmp/lower/read", O_WRONLY, "of the lower layer"));
	close(file("tmp/lower/changed", O_WRONLY, "before"));
	close(file("tmp/lower/gone", O_WRONLY, "deleted"));
	must(mount("overlay", "over", "overlay", 0, "lowerdir=tmp/lower,upperdir=tmp/upper,workdir=tmp/work") == 0);
	int lower = open("over/read", O_RDONLY), changed = open("over/changed", O_RDWR | O_APPEND), gone = open("over/gone", O_RDWR), fresh = file("over/new", O_RDWR, "new");
	must(lower >= 0 && lseek(lower, 7, SEEK_SET) == 7 && changed >= 0 && write(changed, " and after", 10) == 10 && gone >= 0 && unlink("over/gone") == 0);
	int own = file("tmp/file", O_RDWR, "on tmpfs");
	int sys = open("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY);
	int group = open("/sys/fs/cgroup/cgroup.controllers", O_RDONLY);
	if (group < 0)
		group = open("/sys/fs/cgroup/unified/cgroup.controllers", O_RDONLY);
	ssize_t n = sys >= 0 ? read(sys, before, sizeof before) : 0;
	must(n >= 0);
	save_me();
	check(read(lower, b, sizeof b) == 11 && !memcmp(b, "lower layer", 11));
	check(pread(changed, b, sizeof b, 0) == 16 && !memcmp(b, "before and after", 16) && write(changed, "!", 1) == 1 && pread(changed, b, sizeof b, 0) == 17);
	check(fstat(gone, &st) == 0 && st.st_nlink == 0 && pread(gone, b, sizeof b, 0) == 7 && !memcmp(b, "deleted", 7));
	check(lseek(fresh, 0, SEEK_CUR) == 3 && pread(fresh, b, sizeof b, 0) == 3);
	check(lseek(own, 0, SEEK_CUR) == 8 && write(own, "!", 1) == 1 && stat("tmp/file", &st) == 0 && st.st_size == 9);
	check(sys < 0 || (lseek(sys, 0, SEEK_CUR) == n && pread(sys, b, sizeof b, 0) == n && !memcmp(b, before, n)), "sysfs");
	check(group < 0 || pread(group, b, sizeof b, 0) >= 0, "%s", strerror(errno));
	must(close(lower) == 0 && close(changed) == 0 && close(gone) == 0 && close(fresh) == 0 && close(own) == 0);
	check(umount("over") == 0 && umount("tmp") == 0, "%s", strerror(errno));
	return finish();
}
