/* A tree at work: numbers go from the root through a child and its child and
 * back; another child has three threads, a third leads a session of its own, a
 * fourth has ended and is waited for last. argv[1] is how many rounds there are.
 * The output depends on what every one of them computes and on nothing else. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 3, LEADER = THREADS, SUMS };

static volatile uint64_t *sums;
static long rounds;

static uint64_t mix(uint64_t x, int n)
{
	for (int i = 0; i < n; i++)
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
	return x;
}

static void fail(const char *what)
{
	perror(what);
	_exit(3);
}

static void get(int fd, uint64_t *v)
{
	if (read(fd, v, sizeof *v) != sizeof *v)
		fail("read");
}

static void put(int fd, uint64_t v)
{
	if (write(fd, &v, sizeof v) != sizeof v)
		fail("write");
}

/* Passes numbers on until there are no more, and changes each. */
static void station(int in, int out, uint64_t salt)
{
	uint64_t v;

	for (long r = 0; r < rounds; r++) {
		get(in, &v);
		put(out, mix(v + salt, 500));
	}
	_exit(0);
}

static void *count(void *arg)
{
	long n = (long)arg;
	uint64_t x = n + 1;

	for (long r = 0; r < rounds; r++)
		x = mix(x + r, 5000);
	sums[n] = x;
	return NULL;
}

static pid_t begin(void)
{
	pid_t pid = fork();

	if (pid < 0)
		fail("fork");
	return pid;
}

int main(int argc, char **argv)
{
	int a[2], b[2], c[2], status, bad = 0;
	uint64_t x = 1, *mine = malloc(4 << 20);
	pid_t ended;

	rounds = atol(argv[1]);
	sums = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sums == MAP_FAILED || !mine || pipe(a) || pipe(b) || pipe(c))
		fail("setup");
	memset(mine, 7, 4 << 20);
	if ((ended = begin()) == 0)
		_exit(42);
	if (begin() == 0) {
		mine[0] = 1;
		if (begin() == 0)
			station(b[0], c[1], mine[0] + mine[1]);
		station(a[0], b[1], 3);
	}
	if (begin() == 0) {
		pthread_t t[THREADS];

		for (long i = 0; i < THREADS; i++)
			if (pthread_create(&t[i], NULL, count, (void *)i))
				_exit(3);
		for (int i = 0; i < THREADS; i++)
			pthread_join(t[i], NULL);
		_exit(0);
	}
	if (begin() == 0) {
		if (setsid() < 0)
			fail("setsid");
		count((void *)LEADER);
		_exit(0);
	}
	usleep(50000);
	printf("ready\n");
	fflush(stdout);
	for (long r = 0; r < rounds; r++) {
		put(a[1], x);
		mine[r % (4 << 17)] += x;
		get(c[0], &x);
		x = mix(x, 5000);
		if (r % 500 == 0)
			printf("%ld %016llx\n", r, (unsigned long long)x), fflush(stdout);
	}
	if (waitpid(ended, &status, 0) != ended || WEXITSTATUS(status) != 42)
		bad++;
	while (wait(&status) > 0)
		bad += status != 0;
	for (int i = 0; i < SUMS; i++)
		x = mix(x + sums[i], 7);
	for (int i = 0; i < 4 << 17; i++)
		x = x * 31 + mine[i];
	printf("sum %016llx, %d bad\n", (unsigned long long)x, bad);
	return bad;
}
