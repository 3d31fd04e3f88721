/* 64 GiB of reserved memory with a page here and there. */
#include "proc.h"

#define SIZE (64ul << 30)
#define STEP (1ul << 30)

static int resident(char *p)
{
	unsigned char vec = 0;

	return mincore(p, PAGE, &vec) == 0 && vec & 1;
}

int main(void)
{
	char *p = map(SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);

	must(madvise(p, SIZE, MADV_NOHUGEPAGE) == 0);
	for (unsigned long at = 0; at < SIZE; at += STEP)
		p[at + (at >> 18)] = 'a' + at / STEP % 26;
	p[SIZE - 1] = 'Z';
	save_me();
	check(has_flag(p, "nr") && has_flag(p + SIZE - 1, "nr"));
	for (unsigned long at = 0; at < SIZE; at += STEP) {
		check(p[at + (at >> 18)] == (char)('a' + at / STEP % 26), "at %#lx", at);
		char *hole = p + at + STEP / 2;
		check(!resident(hole) && *hole == 0, "at %#lx", at);
	}
	check(p[SIZE - 1] == 'Z');
	p[SIZE / 2 + 12345678] = 'n';
	check(p[SIZE / 2 + 12345678] == 'n');
	return finish();
}
