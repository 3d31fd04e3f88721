/* A tmpfs of its own, with files that are open, mapped, deleted and of all kinds. */
#include "mounts.h"
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

int main(void)
{
	struct stat st, other;
	char buf[16] = "", *mapped, *before;
	int fd, gone;

	own_mounts();
	here("t", "size=2m,mode=1750,nr_inodes=64");
	put("t/file", "0123456789");
	umask(0);
	must(link("t/file", "t/again") == 0 && symlink("file", "t/link") == 0 && mkfifo("t/fifo", 0622) == 0);
	must(mkdir("t/d", 0711) == 0 && mknod("t/d/null", S_IFCHR | 0666, makedev(1, 3)) == 0 && chown("t/d", 3, 4) == 0);
	must(setxattr("t/d", "trusted.x", "y", 1, 0) == 0);
	must((fd = open("t/file", O_RDWR)) >= 0 && lseek(fd, 4, SEEK_SET) == 4);
	put("t/gone", "deleted");
	must((gone = open("t/gone", O_RDWR)) >= 0 && unlink("t/gone") == 0);
	put("t/map", "mapped");
	int m = open("t/map", O_RDWR);
	must(ftruncate(m, 3 << 16) == 0);
	mapped = mmap(NULL, 3 << 16, PROT_READ | PROT_WRITE, MAP_SHARED, m, 0);
	must(mapped != MAP_FAILED && close(m) == 0);
	mapped[2 << 16] = 'x';
	before = table();
	save_me();
	same_table(before);
	check(read(fd, buf, 3) == 3 && memcmp(buf, "456", 3) == 0);
	check(pwrite(fd, "X", 1, 0) == 1 && holds("t/again", "X123456789") && holds("t/link", "X123456789"));
	check(fstat(fd, &st) == 0 && stat("t/again", &other) == 0 && st.st_ino == other.st_ino && st.st_dev == other.st_dev && st.st_nlink == 2);
	check(fstat(gone, &st) == 0 && st.st_nlink == 0 && pread(gone, buf, 7, 0) == 7 && memcmp(buf, "deleted", 7) == 0);
	check(memcmp(mapped, "mapped", 6) == 0 && mapped[2 << 16] == 'x');
	mapped[0] = 'M';
	fd = open("t/map", O_RDONLY);
	check(read(fd, buf, 6) == 6 && memcmp(buf, "Mapped", 6) == 0);
	check(stat("t/map", &st) == 0 && st.st_size == 3 << 16 && st.st_blocks == 2 * 8);
	check(stat("t/d", &st) == 0 && st.st_mode == (S_IFDIR | 0711) && st.st_uid == 3 && st.st_gid == 4);
	check(getxattr("t/d", "trusted.x", buf, sizeof buf) == 1 && buf[0] == 'y');
	check(lstat("t/fifo", &st) == 0 && st.st_mode == (S_IFIFO | 0622));
	check(stat("t/d/null", &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3));
	check(open("t/d/null", O_WRONLY) >= 0);
	return finish();
}
