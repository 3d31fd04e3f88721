/* Holds argv[1] MiB of memory that compresses to about a third, and waits. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	size_t n = (size_t)atol(argv[1]) << 20;
	uint64_t *a = malloc(n), x = 1;

	for (size_t i = 0; i < n / 8; i++) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		a[i] = i & 1 ? i << 8 : i >> 4 & 3 ? x & 0xffff : x;
	}
	puts("ready");
	fflush(stdout);
	for (;;)
		pause();
}
