/* Children of user nobody whose limits leave no room for anything: address space,
 * data, locked memory to come, processes, waiting signals, file size, CPU time,
 * descriptors, stack. The parent can map nothing more either. */
#include "kids.h"
#include "proc.h"
#include <pthread.h>
#include <sys/resource.h>

static void limit(int what, unsigned long to)
{
	must(setrlimit(what, &(struct rlimit){to, to}) == 0);
}

static int is(int what, unsigned long to)
{
	struct rlimit now;

	return getrlimit(what, &now) == 0 && now.rlim_cur == to && now.rlim_max == to;
}

static unsigned long kib(const char *key) { return strtoul(status(key), NULL, 10) * 1024; }

static void nobody(void) { must(setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0); }

/* full tells whether nothing can be mapped, and why. */
static int full(int why) { return mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == why; }

/* dirty_stack counts the bytes at the low end of the stack that are not zero. */
static int dirty_stack(void)
{
	unsigned long low, high;
	char line[500];
	int n = 0;
	FILE *f = fopen("/proc/self/maps", "r");

	must(f);
	while (fgets(line, sizeof line, f))
		if (strstr(line, "[stack]") && sscanf(line, "%lx-%lx", &low, &high) == 2)
			for (char *p = (char *)low; p < (char *)low + 4 * PAGE; p++)
				n += *p != 0;
	fclose(f);
	return n;
}

static void *wait_forever(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static void as(int arg)
{
	pthread_t t;
	int dirty = dirty_stack();
	unsigned long size;

	must(pthread_create(&t, NULL, wait_forever, NULL) == 0);
	nobody();
	limit(RLIMIT_AS, size = kib("VmSize"));
	must(full(ENOMEM));
	wait_restored();
	check(is(RLIMIT_AS, size) && full(ENOMEM));
	check(dirty_stack() == dirty);
}

static void data(int arg)
{
	unsigned long size;

	nobody();
	limit(RLIMIT_DATA, size = kib("VmData"));
	must(full(ENOMEM));
	wait_restored();
	check(is(RLIMIT_DATA, size) && full(ENOMEM));
}

static void locked(int flags)
{
	unsigned long size;

	must(mlockall(MCL_CURRENT | flags) == 0);
	nobody();
	limit(RLIMIT_MEMLOCK, size = kib("VmLck"));
	must(full(EAGAIN));
	wait_restored();
	check(is(RLIMIT_MEMLOCK, size) && full(EAGAIN) && kib("VmLck") == size);
	check(munlock(me, PAGE) == 0);
	char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(p == MAP_FAILED || !(flags & MCL_ONFAULT) || has_flag(p, "lf"));
}

static void others(int arg)
{
	sigset_t set;
	siginfo_t got;
	int fd = open("written", O_RDWR | O_CREAT, 0666);

	must(fd >= 0 && dup2(fd, 50) == 50 && write(fd, "abc", 3) == 3);
	signal(SIGXFSZ, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	nobody();
	for (int i = 0; i < 3; i++)
		must(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = i}) == 0);
	limit(RLIMIT_SIGPENDING, 1);
	limit(RLIMIT_NPROC, 1);
	limit(RLIMIT_FSIZE, 3);
	limit(RLIMIT_CPU, 1);
	limit(RLIMIT_NOFILE, 4);
	limit(RLIMIT_STACK, PAGE);
	limit(RLIMIT_MEMLOCK, 0);
	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_RTTIME, 0);
	wait_restored();
	check(is(RLIMIT_SIGPENDING, 1) && is(RLIMIT_NPROC, 1) && is(RLIMIT_FSIZE, 3) && is(RLIMIT_CPU, 1) && is(RLIMIT_NOFILE, 4));
	check(is(RLIMIT_STACK, PAGE) && is(RLIMIT_MEMLOCK, 0) && is(RLIMIT_CORE, 0) && is(RLIMIT_RTTIME, 0));
	for (int i = 0; i < 3; i++)
		check(sigtimedwait(&set, &got, &(struct timespec){}) == SIGRTMIN && got.si_value.sival_int == i && got.si_code == SI_QUEUE, "%d", i);
	check(write(50, "d", 1) == -1 && errno == EFBIG && lseek(50, 0, SEEK_CUR) == 3);
	check(fork() == -1 && errno == EAGAIN);
	check(dup(50) == -1 && errno == EMFILE);
}

int main(void)
{
	unsigned long size;

	start_kid(as, 0);
	start_kid(data, 0);
	start_kid(locked, MCL_FUTURE);
	start_kid(locked, MCL_FUTURE | MCL_ONFAULT);
	start_kid(others, 0);
	limit(RLIMIT_AS, size = kib("VmSize"));
	must(full(ENOMEM));
	save_me();
	check(is(RLIMIT_AS, size) && full(ENOMEM));
	finish_kids();
	return finish();
}
