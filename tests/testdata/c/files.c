/* Regular files: positions, flags, and files without a name. */
#include "check.h"
#include <dirent.h>
#include <sys/stat.h>

static char block[4096];

int main(void)
{
	char buf[4096];
	struct stat st, before;
	int append, flags, gone, again, linked, dir, path, clo, nofollow, tmp;
	DIR *d;

	memset(block, 'b', sizeof block);
	must((append = open("append", O_WRONLY | O_CREAT | O_APPEND, 0600)) >= 0 && write(append, "abc", 3) == 3);
	must((flags = open("flags", O_RDWR | O_CREAT | O_NONBLOCK | O_SYNC, 0600)) >= 0);
	must((clo = open("flags", O_RDONLY | O_CLOEXEC)) >= 0);

	must((gone = open("gone", O_RDWR | O_CREAT, 0640)) >= 0);
	must(ftruncate(gone, 64 << 20) == 0);
	must(pwrite(gone, block, 4096, 8192) == 4096 && pwrite(gone, block, 4096, 32 << 20) == 4096);
	must(fchmod(gone, 0604) == 0 && fchown(gone, 12, 34) == 0);
	must((again = open("gone", O_RDONLY)) >= 0 && unlink("gone") == 0);
	must(lseek(gone, 5, SEEK_SET) == 5 && lseek(again, 9, SEEK_SET) == 9);
	must(fstat(gone, &before) == 0);

	must((linked = open("linked", O_RDWR | O_CREAT, 0600)) >= 0 && write(linked, "one", 3) == 3);
	must(link("linked", "other") == 0 && unlink("linked") == 0);

	must((nofollow = open("nofollow", O_RDWR | O_CREAT | O_NOFOLLOW, 0600)) >= 0 && write(nofollow, "nf", 2) == 2 && unlink("nofollow") == 0);
	must((tmp = open(".", O_RDWR | O_TMPFILE, 0600)) >= 0 && write(tmp, "tmp", 3) == 3);

	must(mkdir("dir", 0700) == 0 && (dir = open("dir", O_RDONLY | O_DIRECTORY)) >= 0);
	must(close(openat(dir, "inside", O_CREAT | O_WRONLY, 0600)) == 0);
	must((path = open("append", O_PATH)) >= 0);
	must((d = opendir(".")) && readdir(d));
	save_me();

	check(write(append, "def", 3) == 3 && stat("append", &st) == 0 && st.st_size == 6);
	check(fcntl(append, F_GETFL) & O_APPEND);
	check((fcntl(flags, F_GETFL) & (O_ACCMODE | O_NONBLOCK | O_SYNC)) == (O_RDWR | O_NONBLOCK | O_SYNC), "flags %x", fcntl(flags, F_GETFL));
	check(fcntl(clo, F_GETFD) == FD_CLOEXEC && fcntl(flags, F_GETFD) == 0);

	check(lseek(gone, 0, SEEK_CUR) == 5 && lseek(again, 0, SEEK_CUR) == 9);
	check(fstat(gone, &st) == 0 && st.st_nlink == 0 && st.st_size == 64 << 20);
	check(st.st_blocks <= 64, "%ld blocks", (long)st.st_blocks);
	check((st.st_mode & 07777) == 0604 && st.st_uid == 12 && st.st_gid == 34);
	check(st.st_mtim.tv_sec == before.st_mtim.tv_sec && st.st_mtim.tv_nsec == before.st_mtim.tv_nsec, "modification time");
	check(pread(gone, buf, 4096, 8192) == 4096 && !memcmp(buf, block, 4096));
	check(pread(again, buf, 4096, 32 << 20) == 4096 && !memcmp(buf, block, 4096));
	check(pread(gone, buf, 4096, 0) == 4096 && buf[0] == 0 && buf[4095] == 0);
	check(pwrite(gone, "new", 3, 100) == 3 && pread(again, buf, 3, 100) == 3 && !memcmp(buf, "new", 3), "the two opens are two files");

	check(pwrite(linked, "two", 3, 0) == 3);
	int o = open("other", O_RDONLY);
	check(o >= 0 && read(o, buf, 3) == 3 && !memcmp(buf, "two", 3), "the other name leads elsewhere");

	check(pread(nofollow, buf, 4, 0) == 2 && !memcmp(buf, "nf", 2));
	check(pread(tmp, buf, 4, 0) == 3 && !memcmp(buf, "tmp", 3) && write(tmp, "!", 1) == 1 && pread(tmp, buf, 1, 3) == 1 && buf[0] == '!');

	check(faccessat(dir, "inside", F_OK, 0) == 0);
	check(fcntl(path, F_GETFL) & O_PATH);
	check(read(path, buf, 1) == -1 && errno == EBADF);
	int entries = 1;
	while (readdir(d))
		entries++;
	check(entries >= 6, "%d entries", entries);
	return finish();
}
