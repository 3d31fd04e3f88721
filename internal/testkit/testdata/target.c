/* A small program to hold: it does what its first argument says, and knows itself
 * whether anything was done to it. What it counts stands in memory that it shares
 * with the test, its descriptor 3. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile uint64_t *counters;

static void say(char c) { if (write(1, &c, 1) != 1) _exit(99); }

/* Counts, and ends with status 7 if a register is not what it was set to. */
static void spin(volatile uint64_t *count)
{
	__asm__ volatile(
		"mov $0x1111111111111111, %%rbx; mov $0x22222222, %%ecx; mov $0x3333333333333333, %%rdx\n"
		"mov $0x4444444444444444, %%rsi; mov $0x5555555555555555, %%rdi; mov $0x6666666666666666, %%r8\n"
		"mov $0x7777777777777777, %%r9; mov $0x0888888888888888, %%r10; mov $0x19, %%r11d\n"
		"mov $0x1234123412341234, %%r12; mov $0x2345234523452345, %%r13; mov $0x3456345634563456, %%r14\n"
		"movq %%rdx, %%xmm9\n"
		"1:\n"
		"mov $0x1111111111111111, %%rax; cmp %%rax, %%rbx; jne 2f\n"
		"mov $0x22222222, %%eax; cmp %%rax, %%rcx; jne 2f\n"
		"mov $0x3333333333333333, %%rax; cmp %%rax, %%rdx; jne 2f\n"
		"mov $0x4444444444444444, %%rax; cmp %%rax, %%rsi; jne 2f\n"
		"mov $0x5555555555555555, %%rax; cmp %%rax, %%rdi; jne 2f\n"
		"mov $0x6666666666666666, %%rax; cmp %%rax, %%r8; jne 2f\n"
		"mov $0x7777777777777777, %%rax; cmp %%rax, %%r9; jne 2f\n"
		"mov $0x0888888888888888, %%rax; cmp %%rax, %%r10; jne 2f\n"
		"mov $0x19, %%eax; cmp %%rax, %%r11; jne 2f\n"
		"mov $0x1234123412341234, %%rax; cmp %%rax, %%r12; jne 2f\n"
		"mov $0x2345234523452345, %%rax; cmp %%rax, %%r13; jne 2f\n"
		"mov $0x3456345634563456, %%rax; cmp %%rax, %%r14; jne 2f\n"
		"movq %%xmm9, %%rax; cmp %%rax, %%rdx; jne 2f\n"
		"incq (%[count])\n"
		"jmp 1b\n"
		"2: mov $231, %%eax; mov $7, %%edi; syscall\n"
		: : [count] "r"(count)
		: "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "xmm9", "memory", "cc");
}

static void *spinner(void *count) { spin(count); return NULL; }
static void *sleeper(void *unused) { for (;;) pause(); return unused; }

/* Waits 1.5 seconds by a call, and says whether that is what passed. */
static int waited(const char *how)
{
	struct timespec begin, end, ts = {1, 500000000}, left;
	uint32_t word = 0;
	clock_gettime(CLOCK_MONOTONIC, &begin);
	say('w');
	long r = -1;
	if (!strcmp(how, "nanosleep"))
		r = syscall(SYS_nanosleep, &ts, NULL);
	else if (!strcmp(how, "nanosleep-rest"))
		r = syscall(SYS_nanosleep, &ts, &left);
	else if (!strcmp(how, "clock"))
		r = syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &ts, NULL);
	else if (!strcmp(how, "poll"))
		r = syscall(SYS_poll, NULL, 0, 1500);
	else if (!strcmp(how, "futex"))
		r = syscall(SYS_futex, &word, FUTEX_WAIT, 0, &ts, NULL, 0) == -1 && errno == ETIMEDOUT ? 0 : -1;
	else if (!strcmp(how, "epoll"))
		r = syscall(SYS_epoll_wait, epoll_create1(0), (struct epoll_event[1]){}, 1, 1500);
	int e = errno;
	clock_gettime(CLOCK_MONOTONIC, &end);
	counters[0] = (end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000;
	return r == 0 ? 0 : 100 + e % 100;
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "";
	signal(SIGPIPE, SIG_IGN);
	counters = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, 3, 0);
	if (counters == MAP_FAILED)
		return 98;
	if (!strcmp(how, "spin")) {
		say('s');
		spin(counters);
	} else if (!strcmp(how, "tight")) { /* as spin, with no room for another mapping */
		struct rlimit none = {1, 1};
		if (setrlimit(RLIMIT_AS, &none) != 0)
			return 97;
		say('s');
		spin(counters);
	} else if (!strcmp(how, "echo")) {
		char c;
		for (say('e'); ; say(c)) {
			ssize_t n = read(0, &c, 1);
			if (n <= 0)
				return n == 0 ? 0 : 96;
			if (c == 'x') {
				char *again[] = {argv[0], "spin", NULL};
				execv(argv[0], again);
			}
		}
	} else if (!strcmp(how, "threads")) {
		int n = atoi(argv[2]);
		for (int i = 0; i < n; i++) {
			pthread_t t;
			if (pthread_create(&t, NULL, i % 2 ? sleeper : spinner, (void *)&counters[i + 1]) != 0)
				return 95;
		}
		say('t');
		spin(counters);
	} else if (!strcmp(how, "family")) { /* children that wait, one that has ended, one in vfork */
		for (int i = 0; i < 2; i++)
			if (fork() == 0) {
				spin(&counters[1 + i]);
			}
		if (fork() == 0)
			_exit(3);
		siginfo_t info;
		waitid(P_ALL, 0, &info, WEXITED | WNOWAIT);
		if (fork() == 0) {
			if (vfork() == 0) {
				char *again[] = {argv[0], "naps", NULL};
				syscall(SYS_nanosleep, &(struct timespec){0, 200000000}, NULL);
				execv(argv[0], again);
				_exit(1);
			}
			for (;;)
				pause();
		}
		say('f');
		spin(counters);
	} else if (!strcmp(how, "naps")) {
		for (say('n'); ;)
			pause();
	} else if (!strcmp(how, "storm")) { /* begins and ends threads and processes all the time */
		say('m');
		for (uint64_t n = 0; ; n++) {
			pthread_t t;
			counters[0] = n;
			if (n % 3 == 0) {
				pid_t child = fork();
				if (child == 0)
					_exit(0);
				waitpid(child, NULL, 0);
			} else if (pthread_create(&t, NULL, (void *(*)(void *))getpid, NULL) == 0) {
				pthread_join(t, NULL);
			}
		}
	} else {
		return waited(how);
	}
	return 0;
}
