/* Forked memory: parent and children each changed, dropped, protected, unmapped
 * and grew something; every byte is right. */
#include "kids.h"
#include "proc.h"

#define PAGES 4096
static unsigned char *p;
static char *heap;

static int right(int from, int to, int step, int add)
{
	for (int i = from; i < to; i++)
		for (int k = 0; k < PAGE; k += 512)
			if (p[(size_t)i * PAGE + k] != (unsigned char)(i * 31 + k / 512 + (i % step == 0 ? add : 0)))
				return i + 1;
	return 0;
}

static void change(int from, int to, int step, int add)
{
	for (int i = from; i < to; i++)
		for (int k = 0; i % step == 0 && k < PAGE; k += 512)
			p[(size_t)i * PAGE + k] += add;
}

static void body(int n)
{
	int bad;

	switch (n) {
	case 0:
		change(0, PAGES, 7, 3);
		wait_restored();
		check(!(bad = right(0, PAGES, 7, 3)), "page %d", bad - 1);
		break;
	case 1:
		must(madvise(p + 100 * PAGE, 1000 * PAGE, MADV_DONTNEED) == 0 && mprotect(p + 2000 * PAGE, 500 * PAGE, PROT_READ) == 0);
		wait_restored();
		check(!(bad = right(0, 100, 1, 0)) && !(bad = right(1100, PAGES, 1, 0)), "page %d", bad - 1);
		for (int i = 100; i < 1100; i++)
			check(p[(size_t)i * PAGE] == 0 && p[(size_t)i * PAGE + 512] == 0, "page %d", i);
		check(strstr(maps_line(p + 2000 * PAGE), "r--p") != NULL);
		break;
	case 2:
		must(munmap(p + 500 * PAGE, 200 * PAGE) == 0 && mmap(p + 600 * PAGE, 50 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
		p[600 * PAGE] = 9;
		wait_restored();
		check(!(bad = right(0, 500, 1, 0)) && !(bad = right(700, PAGES, 1, 0)), "page %d", bad - 1);
		check(p[600 * PAGE] == 9 && p[601 * PAGE] == 0 && *maps_line(p + 550 * PAGE) == 0, "%s", maps_line(p + 550 * PAGE));
		break;
	case 3:
		heap = sbrk(64 * PAGE);
		memset(heap, 'h', 64 * PAGE);
		wait_restored();
		for (int i = 0; i < 64 * PAGE; i++)
			if (heap[i] != 'h') {
				check(0, "heap byte %d is %d", i, heap[i]);
				break;
			}
		check(!(bad = right(0, PAGES, 1, 0)), "page %d", bad - 1);
	}
}

int main(void)
{
	int bad;

	p = mmap(NULL, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(p != MAP_FAILED);
	for (int i = 0; i < PAGES; i++)
		for (int k = 0; k < PAGE; k += 512)
			p[(size_t)i * PAGE + k] = i * 31 + k / 512;
	for (int n = 0; n < 4; n++)
		start_kid(body, n);
	change(0, PAGES, 11, 5);
	save_me();
	check(!(bad = right(0, PAGES, 11, 5)), "page %d", bad - 1);
	finish_kids();
	check(!(bad = right(0, PAGES, 11, 5)), "a child changed page %d", bad - 1);
	return finish();
}
