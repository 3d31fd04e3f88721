/* Mappings sealed with mseal keep their content and still refuse changes. */
#include "proc.h"
#include <sys/syscall.h>

#ifndef SYS_mseal
#define SYS_mseal 462
#endif

int main(void)
{
	char *rw = anon(4 * PAGE), *ro = anon(4 * PAGE);
	int fd = open("file", O_RDWR | O_CREAT, 0600);

	must(ftruncate(fd, PAGE) == 0 && pwrite(fd, "file", 4, 0) == 4);
	char *file = map(PAGE, PROT_READ, MAP_PRIVATE, fd);
	memset(rw, 'w', 4 * PAGE);
	memset(ro, 'r', 4 * PAGE);
	must(mprotect(ro, 4 * PAGE, PROT_READ) == 0);
	must(syscall(SYS_mseal, rw + PAGE, 2 * PAGE, 0) == 0 && syscall(SYS_mseal, ro, 4 * PAGE, 0) == 0 && syscall(SYS_mseal, file, PAGE, 0) == 0);
	must(has_flag(rw + PAGE, "sl") && munmap(ro, PAGE) == -1 && errno == EPERM);
	save_me();
	check(has_flag(rw + PAGE, "sl") && has_flag(ro, "sl") && has_flag(file, "sl") && !has_flag(rw, "sl") && !has_flag(rw + 3 * PAGE, "sl"));
	for (int i = 0; i < 4 * PAGE; i++)
		if (rw[i] != 'w' || ro[i] != 'r') {
			check(0, "byte %d is %d and %d", i, rw[i], ro[i]);
			break;
		}
	check(!memcmp(file, "file", 4));
	for (int i = 1; i < 3; i++) {
		check(munmap(rw + i * PAGE, PAGE) == -1 && errno == EPERM);
		check(mprotect(rw + i * PAGE, PAGE, PROT_READ) == -1 && errno == EPERM);
		check(mremap(rw + i * PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, rw) == MAP_FAILED && errno == EPERM);
		rw[i * PAGE] = 'n';
	}
	check(munmap(ro, 4 * PAGE) == -1 && errno == EPERM);
	check(mprotect(ro, PAGE, PROT_READ | PROT_WRITE) == -1 && errno == EPERM);
	check(mmap(ro, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED && errno == EPERM);
	check(madvise(ro, PAGE, MADV_DONTNEED) == -1 && errno == EPERM);
	check(munmap(file, PAGE) == -1 && errno == EPERM);
	check(munmap(rw, PAGE) == 0 && munmap(rw + 3 * PAGE, PAGE) == 0);
	check(rw[PAGE] == 'n' && rw[2 * PAGE] == 'n' && ro[0] == 'r');
	return finish();
}
