/* Two thousand mappings side by side with alternating protection. */
#include "proc.h"

#define N 2000

static const int kinds[] = {PROT_READ | PROT_WRITE, PROT_READ, PROT_READ | PROT_EXEC, PROT_NONE};
static const char *names[] = {"rw-p", "r--p", "r-xp", "---p"};

int main(void)
{
	char *p = anon((N + 2) * PAGE) + PAGE, line[4096], mode[8];
	unsigned long a, b;
	int n = 0;

	must(munmap(p - PAGE, PAGE) == 0 && munmap(p + N * PAGE, PAGE) == 0);
	for (int i = 0; i < N; i++) {
		*(int *)(p + i * PAGE) = i;
		must(mprotect(p + i * PAGE, PAGE, kinds[i % 4]) == 0);
	}
	save_me();
	FILE *f = fopen("/proc/self/maps", "r");
	while (fgets(line, sizeof line, f)) {
		if (sscanf(line, "%lx-%lx %7s", &a, &b, mode) != 3 || a < (unsigned long)p || a >= (unsigned long)p + N * PAGE)
			continue;
		check(a == (unsigned long)p + n * PAGE && b == a + PAGE && SAME(mode, names[n % 4]), "mapping %d: %s", n, line);
		n++;
	}
	fclose(f);
	check(n == N, "%d mappings", n);
	check(mprotect(p, N * PAGE, PROT_READ) == 0);
	for (int i = 0; i < N; i++)
		check(*(int *)(p + i * PAGE) == i, "mapping %d has %d", i, *(int *)(p + i * PAGE));
	return finish();
}
