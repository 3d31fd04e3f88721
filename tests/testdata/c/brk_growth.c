/* The heap made with brk grows on after the restore, and shrinks. */
#include "proc.h"

int main(void)
{
	static char buf[BUFSIZ]; /* so that only we move the end of the heap */

	setvbuf(stdout, buf, _IOFBF, sizeof buf);
	char *base = sbrk(0);

	must(sbrk(20 * PAGE + 123) == base);
	memset(base, 'h', 20 * PAGE + 123);
	char *end = sbrk(0);
	must(end == base + 20 * PAGE + 123);
	save_me();
	check(sbrk(0) == end, "%p, now %p", end, sbrk(0));
	for (char *p = base; p < end; p++)
		if (*p != 'h') {
			check(0, "byte %ld", p - base);
			break;
		}
	check(sbrk(1000 * PAGE) == end, "%s", strerror(errno));
	for (int i = 0; i < 1000; i++) {
		check(end[i * PAGE] == 0, "page %d", i);
		end[i * PAGE] = 'n';
	}
	check(sbrk(-500 * PAGE) == end + 1000 * PAGE && faults(end + 501 * PAGE) && end[499 * PAGE] == 'n');
	check(strstr(maps_line(end + 499 * PAGE), "[heap]"), "%s", maps_line(end + 499 * PAGE));
	char *big = malloc(100000);
	memset(big, 'm', 100000);
	check(base[0] == 'h' && end[499 * PAGE] == 'n');
	free(big);
	return finish();
}
