/* Waits with a time limit that were interrupted before, by checkpoints, end as they would have: when their time has come, not with EINTR,
 * and with the registers that the program had; calls made by way of syscall(2)
 * too, where the kernel alone knows which call it is */
#include "check.h"
#include <pthread.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>

enum { WAITS = 8, SECONDS = 12 };
static int word, ep;
static volatile int waiting, late_by[WAITS];
static struct timespec begun, asked = {SECONDS, 0}, at;

static long r10_after_epoll(void)
{
	struct epoll_event e;
	register long r10 asm("r10") = SECONDS * 1000;
	register long r8 asm("r8") = 0;
	long ret;

	asm volatile("syscall" : "=a"(ret), "+r"(r10) : "0"((long)SYS_epoll_pwait), "D"((long)ep), "S"(&e), "d"(1L), "r"(r8)
		: "rcx", "r11", "memory");
	check(ret == 0, "epoll_pwait returned %ld", ret);
	return r10;
}

static void *waits(void *arg)
{
	struct timespec end;
	long n = (long)arg, ret = 0;

	__sync_fetch_and_add(&waiting, 1);
	errno = 0;
	switch (n) {
	case 0: ret = nanosleep(&asked, NULL); break;
	case 1: ret = syscall(SYS_nanosleep, &asked, NULL); break;
	case 2: ret = syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &asked, NULL); break;
	case 3: ret = syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &asked, NULL, 0); break;
	case 4: ret = syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, 0, &at, NULL, ~0); break;
	case 5: ret = poll(NULL, 0, SECONDS * 1000); break;
	case 6: ret = syscall(SYS_poll, NULL, 0, SECONDS * 1000); break;
	case 7: ret = r10_after_epoll() - SECONDS * 1000; break;
	}
	if (n == 3 || n == 4)
		check(ret == -1 && errno == ETIMEDOUT, "wait %ld: %ld, %s", n, ret, strerror(errno));
	else
		check(ret == 0, "wait %ld: %ld, %s", n, ret, strerror(errno));
	clock_gettime(CLOCK_MONOTONIC, &end);
	late_by[n] = (end.tv_sec - begun.tv_sec) * 1000 + (end.tv_nsec - begun.tv_nsec) / 1000000 - SECONDS * 1000;
	return NULL;
}

int main(void)
{
	pthread_t t[WAITS];

	must((ep = epoll_create1(0)) >= 0);
	clock_gettime(CLOCK_MONOTONIC, &begun);
	at = begun;
	at.tv_sec += SECONDS;
	for (long i = 0; i < WAITS; i++)
		must(pthread_create(&t[i], NULL, waits, (void *)i) == 0);
	while (waiting < WAITS)
		usleep(1000);
	usleep(200000);
	printf("ready\n");
	fflush(stdout);
	for (int i = 0; i < WAITS; i++)
		pthread_join(t[i], NULL);
	for (int i = 0; i < WAITS; i++)
		check(late_by[i] >= 0, "wait %d ended %d ms too early", i, -late_by[i]);
	return finish();
}
