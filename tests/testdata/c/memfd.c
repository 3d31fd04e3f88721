/* Files of memfd_create: contents, holes, modes, seals, and what is open or
 * mapped of them. */
#include "check.h"
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x20
#endif

static int seals(int fd) { return fcntl(fd, F_GET_SEALS); }

int main(void)
{
	char buf[64], path[64];
	struct stat st, was;
	int plain, ro, own, sealed, future, noexec, big, app, others, huge = -1;

	must((plain = memfd_create("pl ain", MFD_CLOEXEC)) >= 0 && write(plain, "hello world", 11) == 11 && lseek(plain, 5, SEEK_SET) == 5);
	snprintf(path, sizeof path, "/proc/self/fd/%d", plain);
	must((ro = open(path, O_RDONLY)) >= 0 && read(ro, buf, 3) == 3);
	must((own = open(path, O_RDWR | O_APPEND)) >= 0);
	must(fchmod(plain, 0640) == 0 && fstat(plain, &was) == 0);

	must((sealed = memfd_create("sealed", MFD_ALLOW_SEALING)) >= 0 && ftruncate(sealed, 8192) == 0 && pwrite(sealed, "S", 1, 4096) == 1);
	must(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK) == 0);
	char *smap = mmap(NULL, 8192, PROT_READ, MAP_SHARED, sealed, 0);
	char *spriv = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, sealed, 0);
	must(smap != MAP_FAILED && spriv != MAP_FAILED);
	spriv[0] = 'P';

	must((future = memfd_create("future", MFD_ALLOW_SEALING)) >= 0 && ftruncate(future, 4096) == 0);
	char *fmap = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, future, 0);
	must(fmap != MAP_FAILED && fcntl(future, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) == 0);
	strcpy(fmap, "mapped");

	must((noexec = memfd_create("noexec", MFD_NOEXEC_SEAL)) >= 0);
	must((big = memfd_create("", 0)) >= 0 && ftruncate(big, 1LL << 40) == 0 && pwrite(big, "B", 1, 1LL << 39) == 1);
	must((app = memfd_create("app", 0)) >= 0 && fcntl(app, F_SETFL, O_APPEND) == 0 && write(app, "one", 3) == 3);

	must((others = memfd_create("others", 0)) >= 0 && fchown(others, 1234, 1234) == 0 && fchmod(others, 06751) == 0);

	int anon = memfd_create("only mapped", MFD_CLOEXEC);
	must(anon >= 0 && ftruncate(anon, 4096) == 0);
	char *amap = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, anon, 0), *twice = mmap(NULL, 4096, PROT_READ, MAP_SHARED, anon, 0);
	must(amap != MAP_FAILED && twice != MAP_FAILED && close(anon) == 0);
	strcpy(amap, "no descriptor");
	if ((huge = memfd_create("huge", MFD_HUGETLB)) >= 0) {
		must(ftruncate(huge, 4 << 20) == 0);
		char *h = mmap(NULL, 2 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, huge, 2 << 20);
		if (h == MAP_FAILED) { /* no such pages here */
			close(huge);
			huge = -1;
		} else {
			strcpy(h + (1 << 20) + 5, "huge");
			munmap(h, 2 << 20);
		}
	}
	save_me();

	check(fcntl(plain, F_GETFD) == FD_CLOEXEC && read(plain, buf, sizeof buf) == 6 && !memcmp(buf, " world", 6));
	check(read(ro, buf, sizeof buf) == 8 && !memcmp(buf, "lo world", 8), "its own offset");
	check(write(ro, "x", 1) == -1 && errno == EBADF);
	check(fstat(plain, &st) == 0 && st.st_mode == was.st_mode && st.st_size == 11 && st.st_nlink == 0);
	check(st.st_mtim.tv_sec == was.st_mtim.tv_sec && st.st_mtim.tv_nsec == was.st_mtim.tv_nsec);
	check(write(own, "!", 1) == 1 && pread(plain, buf, sizeof buf, 11) == 1 && buf[0] == '!', "one file");
	check(readlink(path, buf, sizeof buf) == 23 && !memcmp(buf, "/memfd:pl ain (deleted)", 23), "%.30s", buf);
	check(seals(plain) == F_SEAL_SEAL && seals(sealed) == (F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK), "%x %x", seals(plain), seals(sealed));
	check(seals(future) == (F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) && seals(noexec) == F_SEAL_EXEC, "%x %x", seals(future), seals(noexec));
	check(smap[4096] == 'S' && spriv[4096] == 'S' && spriv[0] == 'P' && smap[0] == 0 && pwrite(sealed, "x", 1, 0) == -1 && errno == EPERM);
	check(mprotect(smap, 4096, PROT_READ | PROT_WRITE) == -1 && errno == EACCES);
	check(!strcmp(fmap, "mapped") && pwrite(future, "x", 1, 0) == -1 && errno == EPERM);
	strcpy(fmap, "still");
	check(pread(future, buf, 6, 0) == 6 && !strcmp(buf, "still"));
	check(fstat(noexec, &st) == 0 && (st.st_mode & 0777) == 0666 && fchmod(noexec, 0777) == -1);
	check(fstat(big, &st) == 0 && st.st_size == 1LL << 40 && st.st_blocks <= 16 && pread(big, buf, 1, 1LL << 39) == 1 && buf[0] == 'B');
	check(write(app, "two", 3) == 3 && pread(app, buf, sizeof buf, 0) == 6 && !memcmp(buf, "onetwo", 6) && fcntl(app, F_GETFL) & O_APPEND);
	check(fstat(others, &st) == 0 && st.st_uid == 1234 && st.st_gid == 1234 && (st.st_mode & 07777) == 06751, "%o", st.st_mode);
	check(!strcmp(twice, "no descriptor"));
	strcpy(amap, "shared");
	check(!strcmp(twice, "shared"));
	if (huge >= 0) {
		check(fstat(huge, &st) == 0 && st.st_size == 4 << 20 && st.st_blksize == 2 << 20, "%ld", (long)st.st_blksize);
		check(pread(huge, buf, 5, (3 << 20) + 5) == 5 && !strcmp(buf, "huge") && pread(huge, buf, 1, 0) == 1 && buf[0] == 0);
	}
	return finish();
}
