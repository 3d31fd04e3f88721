/* A MAP_GROWSDOWN mapping that has grown, and grows on after the restore. */
#include "proc.h"

static char *at;

/* page i below the first */
static volatile char *page(int i) { return at - i * PAGE; }

int main(void)
{
	/* a hole of its own, below it something that needs no guard gap */
	char *room = map(512 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	must(munmap(room + 200 * PAGE, 312 * PAGE) == 0);
	at = mmap(room + 500 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
	must(at == room + 500 * PAGE);
	for (int i = 0; i < 10; i++)
		*page(i) = 'a' + i;
	must(has_flag(at, "gd") && has_flag(at - 9 * PAGE, "gd"));
	save_me();
	check(has_flag(at, "gd") && has_flag(at - 9 * PAGE, "gd"));
	for (int i = 0; i < 10; i++)
		check(*page(i) == 'a' + i, "page %d", i);
	for (int i = 10; i < 200; i++) {
		if (faults((char *)page(i))) {
			check(0, "it does not grow to page %d", i);
			break;
		}
		*page(i) = i;
	}
	check(has_flag(at - 199 * PAGE, "gd") && *page(9) == 'j');
	return finish();
}
