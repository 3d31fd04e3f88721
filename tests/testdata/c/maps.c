/* Every kind of mapping, what is in it, and its flags. */
#include "check.h"
#include <signal.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#define PAGE 4096
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

static sigjmp_buf jump;
static void on_segv(int sig) { siglongjmp(jump, 1); }
static int faults(volatile char *p)
{
	if (sigsetjmp(jump, 1))
		return 1;
	(void)*p;
	return 0;
}

static char *map(size_t n, int prot, int flags, int fd)
{
	char *p = mmap(NULL, n, prot, flags, fd, 0);
	must(p != MAP_FAILED);
	return p;
}

/* The VmFlags of the mapping that p is in, without those that come and go. */
static void vmflags(const void *p, char *out)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	char line[4096];
	unsigned long a, b;
	int inside = 0;

	strcpy(out, "none");
	while (fgets(line, sizeof line, f)) {
		if (sscanf(line, "%lx-%lx ", &a, &b) == 2)
			inside = (unsigned long)p >= a && (unsigned long)p < b;
		if (inside && !strncmp(line, "VmFlags:", 8))
			strcpy(out, line + 8);
	}
	fclose(f);
	char *sd = strstr(out, " sd");
	if (sd)
		memmove(sd, sd + 3, strlen(sd + 3) + 1);
}

static int grow(int n) { volatile char a[PAGE]; a[0] = n; return n ? grow(n - 1) + a[0] : a[0]; }

enum { ANON, NONE, PRIVFILE, RELRO, CODE, SHFILE, SHANON, DELPRIV, DELSHARED, GROWSDOWN, LOCKED, ONFAULT, SEQ, RANDOM,
	DONTFORK, DONTDUMP, HUGE, NOHUGE, WIPE, NORESERVE, GUARD, ZERO, LARGE, SHTWICE, HEAP, N };

int main(void)
{
	char *m[N], before[N][512], now[512];
	int fd;

	must((fd = open("file", O_RDWR | O_CREAT, 0600)) >= 0 && ftruncate(fd, 4 * PAGE) == 0 && pwrite(fd, "file", 4, 0) == 4);
	m[ANON] = map(8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	m[ANON][PAGE] = 'a';
	(void)*(volatile char *)(m[ANON] + 2 * PAGE); /* the zero page */
	m[NONE] = map(4 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	m[PRIVFILE] = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
	m[PRIVFILE][PAGE] = 'p';
	m[RELRO] = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
	m[RELRO][2 * PAGE] = 'r';
	must(mprotect(m[RELRO], 4 * PAGE, PROT_READ) == 0);
	m[CODE] = map(PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	memcpy(m[CODE], "\xb8\x2a\x00\x00\x00\xc3", 6); /* mov $42,%eax; ret */
	must(mprotect(m[CODE], PAGE, PROT_READ | PROT_EXEC) == 0);
	m[SHFILE] = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	m[SHFILE][3 * PAGE] = 's';
	m[SHANON] = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);
	m[SHANON][PAGE] = 'S';
	m[SHTWICE] = mremap(m[SHANON], 0, 4 * PAGE, MREMAP_MAYMOVE);
	must(m[SHTWICE] != MAP_FAILED && m[SHTWICE] != m[SHANON]);
	int del = open("deleted", O_RDWR | O_CREAT, 0600);
	must(ftruncate(del, 2 * PAGE) == 0 && pwrite(del, "gone", 4, 0) == 4);
	m[DELPRIV] = map(2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, del);
	m[DELPRIV][PAGE] = 'd';
	m[DELSHARED] = map(2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, del);
	must(unlink("deleted") == 0 && close(del) == 0);
	char *room = map(512 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	/* a hole that is smaller than the guard gap, so that nothing else gets there */
	must(munmap(room + 300 * PAGE, 212 * PAGE) == 0);
	m[GROWSDOWN] = mmap(room + 500 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
	must(m[GROWSDOWN] != MAP_FAILED);
	m[GROWSDOWN][0] = 'g';
	m[LOCKED] = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	must(mlock(m[LOCKED], 4 * PAGE) == 0);
	m[ONFAULT] = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	must(mlock2(m[ONFAULT], 4 * PAGE, MLOCK_ONFAULT) == 0);
	int advice[] = {[SEQ] = MADV_SEQUENTIAL, [RANDOM] = MADV_RANDOM, [DONTFORK] = MADV_DONTFORK, [DONTDUMP] = MADV_DONTDUMP,
		[HUGE] = MADV_HUGEPAGE, [NOHUGE] = MADV_NOHUGEPAGE, [WIPE] = MADV_WIPEONFORK};
	for (int i = SEQ; i <= WIPE; i++) {
		m[i] = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
		must(madvise(m[i], 4 * PAGE, advice[i]) == 0);
		m[i][0] = 'A' + i;
	}
	m[NORESERVE] = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	m[GUARD] = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	must(madvise(m[GUARD] + PAGE, PAGE, MADV_GUARD_INSTALL) == 0);
	m[GUARD][2 * PAGE] = 'G';
	int zero = open("/dev/zero", O_RDWR);
	m[ZERO] = map(2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, zero);
	m[ZERO][PAGE] = 'z';
	m[LARGE] = map(1ul << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	m[LARGE][0] = m[LARGE][(1 << 30) - 1] = m[LARGE][123456789] = 'L';
	m[HEAP] = sbrk(0);
	must(sbrk(3 * PAGE) != (void *)-1);
	m[HEAP][2 * PAGE] = 'h';
	grow(50);
	signal(SIGSEGV, on_segv);
	for (int i = 0; i < N; i++)
		vmflags(m[i], before[i]);
	void *brk = sbrk(0);
	save_me();
	check(sbrk(0) == brk && m[HEAP][2 * PAGE] == 'h');
	must(sbrk(PAGE) == brk);

	for (int i = 0; i < N; i++) {
		vmflags(m[i], now);
		check(!strcmp(before[i], now), "mapping %d had %.*s and has %.*s", i, (int)strcspn(before[i], "\n"), before[i], (int)strcspn(now, "\n"), now);
	}
	check(m[ANON][0] == 0 && m[ANON][PAGE] == 'a' && m[ANON][2 * PAGE] == 0);
	check(faults(m[NONE]));
	check(!memcmp(m[PRIVFILE], "file", 4) && m[PRIVFILE][PAGE] == 'p' && m[PRIVFILE][2 * PAGE] == 0);
	check(!memcmp(m[RELRO], "file", 4) && m[RELRO][2 * PAGE] == 'r');
	check(((int (*)(void))m[CODE])() == 42);
	check(m[SHFILE][3 * PAGE] == 's');
	m[SHFILE][PAGE] = 'n';
	char c = 0;
	check(pread(fd, &c, 1, PAGE) == 1 && c == 'n', "the shared mapping is not the file");
	check(m[SHANON][PAGE] == 'S' && m[SHTWICE][PAGE] == 'S');
	m[SHTWICE][0] = 't';
	check(m[SHANON][0] == 't', "mapped twice is not shared");
	check(!memcmp(m[DELPRIV], "gone", 4) && m[DELPRIV][PAGE] == 'd' && m[DELSHARED][PAGE] == 0);
	m[DELSHARED][1] = 'O';
	check(m[DELPRIV][1] == 'O', "the deleted file was made twice");
	check(m[GROWSDOWN][0] == 'g');
	check(!faults(m[GROWSDOWN] - PAGE), "it does not grow");
	for (int i = SEQ; i <= WIPE; i++)
		check(m[i][0] == 'A' + i);
	check(m[GUARD][0] == 0 && m[GUARD][2 * PAGE] == 'G' && faults(m[GUARD] + PAGE));
	check(m[ZERO][0] == 0 && m[ZERO][PAGE] == 'z');
	check(m[LARGE][0] == 'L' && m[LARGE][(1 << 30) - 1] == 'L' && m[LARGE][123456789] == 'L' && m[LARGE][1 << 20] == 0);
	unsigned char vec[8];
	check(mincore(m[LARGE] + (64 << 20), PAGE, vec) == 0 && !(vec[0] & 1), "a hole was filled");
	grow(200);
	struct timespec ts;
	check(clock_gettime(CLOCK_MONOTONIC, &ts) == 0 && ts.tv_sec > 0);
	return finish();
}
