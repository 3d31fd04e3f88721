/* Works for about argv[1] milliseconds of CPU time on a usual machine and prints
 * what it finds on the way; the output depends on nothing else. */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static volatile sig_atomic_t alarms;

static void on_alarm(int sig) { alarms++; }

int main(int argc, char **argv)
{
	long rounds = atol(argv[1]);
	size_t n = 2 << 20;
	uint64_t *a = malloc(n * sizeof *a);
	uint64_t x = 88172645463325252ull;

	signal(SIGUSR1, on_alarm);
	for (size_t i = 0; i < n; i++)
		a[i] = i * 2654435761u;
	for (long r = 0; r < rounds; r++) {
		for (int k = 0; k < 60000; k++) {
			x ^= x << 13, x ^= x >> 7, x ^= x << 17;
			a[x % n] += x;
		}
		if (r % 100 == 0)
			printf("%ld %016llx\n", r, (unsigned long long)x), fflush(stdout);
	}
	uint64_t sum = 0;
	for (size_t i = 0; i < n; i++)
		sum = sum * 31 + a[i];
	printf("sum %016llx\n", (unsigned long long)sum);
	return 0;
}
